from nas.patience import SHARE, SOON, Patience

LARGE = 4 * SHARE


def test_free_workers_of_a_large_cluster_wait_for_others_a_while():
    now = [10.0]
    patience = Patience(clock=lambda: now[0])
    assert patience.left(LARGE) == 0.0, "nobody waits"
    patience.ended()
    assert patience.left(LARGE) == SOON
    now[0] += SOON / 4
    patience.ended()
    assert patience.left(LARGE) == 0.75 * SOON, "the first one's wait counts"
    now[0] += SOON
    assert patience.left(LARGE) == 0.0
    patience.served()
    now[0] += 1.0
    patience.ended()
    assert patience.left(LARGE) == SOON, "a wait of its own"


def test_a_256th_of_the_workers_is_enough_to_be_served():
    patience = Patience(clock=lambda: 0.0)
    for place in range(1, 5):
        patience.ended()
        assert (patience.left(LARGE) > 0.0) == (place < 4)


def test_a_small_cluster_does_not_wait():
    patience = Patience(clock=lambda: 0.0)
    patience.ended()
    assert patience.left(1) == patience.left(2 * SHARE - 1) == 0.0
    assert patience.left(2 * SHARE) == SOON
