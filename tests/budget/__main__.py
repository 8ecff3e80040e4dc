"""`make budget`: count what hot paths cost, print what is another than before, and allow it."""

from budget.ledger import budget, measured, renew

if __name__ == "__main__":
    before, now = budget(), measured()
    for name in sorted(before.keys() | now.keys()):
        was, is_now = before.get(name), now.get(name)
        mark = " " if was is not None and is_now is not None and abs(was - is_now) < 0.01 else "*"
        print(f"{mark} {name}: {was} -> {is_now}")
    renew(now)
