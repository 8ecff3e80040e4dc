"""How does clear HTTP get from a box to a server, with each request's Host read?"""
