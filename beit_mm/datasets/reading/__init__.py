"""What is in an image's file? bands of any depth, any part of them."""
