"""What requests took: recorded durably while they are answered, and added up."""
