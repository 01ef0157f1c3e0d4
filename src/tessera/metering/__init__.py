"""What a request took: counted once, while it is answered."""
