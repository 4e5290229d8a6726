from nas.attempts import Attempts


def event(state, spent=0.0, seed=7, **more):
    return {"event": "fresh", "digest": "d", "seed": seed, "state": state, "spent_flops": spent, **more}


def lost(*events):
    attempts = Attempts()
    for one in events:
        attempts.apply(one)
    return attempts.lost


def test_what_was_reported_before_it_begins_again_is_lost():
    assert lost(event("report", 3.0), event("report", 6.0)) == 0.0
    assert lost(event("report", 3.0), event("report", 6.0), event("again"), event("report", 3.0)) == 6.0
    assert lost(event("report", 3.0), event("again"), event("report", 6.0), event("again")) == 9.0
    assert lost(event("again")) == 0.0


def test_what_a_checkpoint_kept_is_not():
    cut = (event("report", 3.0), event("report", 6.0), event("again"), event("report", 3.0, kept=True))
    assert lost(*cut) == 3.0
    assert lost(*cut, event("report", 6.0, kept=True)) == 0.0
    assert lost(*cut, event("report", 9.0, kept=True)) == 0.0, "a checkpoint behind the last report"
    assert lost(*cut, event("again"), event("report", 3.0, kept=True)) == 3.0


def test_trainings_do_not_mix_and_one_that_ended_is_over():
    attempts = Attempts()
    for one in (event("report", 3.0), event("report", 5.0, seed=8), event("report", 7.0, share=0.5)):
        attempts.apply(one)
    attempts.end(event("report"))
    for one in (event("again"), event("again", seed=8), event("again", share=0.5)):
        attempts.apply(one)
    assert attempts.lost == 12.0
