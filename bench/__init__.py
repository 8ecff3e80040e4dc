"""How fast is Boxwall, beside what it is built on, and how does its cost grow?

`python -m bench` asks every question in turn, never two at once, and writes report.md, results.json
and the plots beside this file. The parent process only starts others and does sums: servers and the
clients that load them (actors) each run in a process of their own, on unix sockets.
"""
