"""What do the first bytes of a connection say, and when does the server have them?"""
