"""What is a Transformer made of? One set of layers for every paper."""
