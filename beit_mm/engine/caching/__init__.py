"""How are visual tokens computed once and read in every epoch?"""
