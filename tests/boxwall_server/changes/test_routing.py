"""Which watchers a change concerns."""

from boxwall_server.changes.routing import Routes


def test_a_change_goes_to_those_who_host_the_box_and_to_nobody_else() -> None:
    routes: Routes[str] = Routes()
    routes.host("n1", "t1", ["b1", "b2"])
    routes.host("n2", "t1", ["b2"])
    assert routes.hosts("t1", "b1") == ("n1",)
    assert routes.hosts("t1", "b2") == ("n1", "n2")
    assert routes.hosts("t1", "b3") == ()


def test_a_box_of_another_tenant_is_another_box() -> None:
    routes: Routes[str] = Routes()
    routes.host("n1", "t1", ["b1"])
    routes.observe("o1", "t1")
    assert routes.hosts("t2", "b1") == ()
    assert list(routes.observers("t2")) == []


def test_hosting_twice_is_hosting_once() -> None:
    routes: Routes[str] = Routes()
    routes.host("n1", "t1", ["b1"])
    routes.host("n1", "t1", ["b1"])
    assert routes.hosts("t1", "b1") == ("n1",)
    routes.unhost("n1", "t1", ["b1"])
    assert routes.hosts("t1", "b1") == ()


def test_unhosting_leaves_the_others() -> None:
    routes: Routes[str] = Routes()
    routes.host("n1", "t1", ["b1"])
    routes.host("n2", "t1", ["b1"])
    routes.unhost("n1", "t1", ["b1", "never hosted"])
    routes.unhost("n3", "t1", ["b1"])
    assert routes.hosts("t1", "b1") == ("n2",)


def test_observers_see_everything_of_their_tenant_until_they_leave() -> None:
    routes: Routes[str] = Routes()
    routes.observe("o1", "t1")
    routes.observe("o2", "t1")
    routes.observe("o1", "t1")
    assert list(routes.observers("t1")) == ["o1", "o2"]
    routes.unobserve("o1", "t1")
    routes.unobserve("never there", "t1")
    assert list(routes.observers("t1")) == ["o2"]


def test_a_watcher_may_leave_while_a_change_is_on_its_way_to_the_others() -> None:
    routes: Routes[str] = Routes()
    for watcher in ("w1", "w2", "w3"):
        routes.observe(watcher, "t1")
        routes.host(watcher, "t1", ["b1"])
    told = []
    for watcher in routes.observers("t1"):
        routes.unobserve(watcher, "t1")
        told.append(watcher)
    for watcher in routes.hosts("t1", "b1"):
        routes.unhost(watcher, "t1", ["b1"])
        told.append(watcher)
    assert told == ["w1", "w2", "w3"] * 2
    assert list(routes.observers("t1")) == []
