"""What does a node do so that its boxes reach what their policies allow, and nothing else?"""
