"""The same scripted operations against two brokers, and what they answer compared frame by frame."""
