import graphs
from graphs import families
from graphs.ops.readers import fusible, joint, readers
from graphs.plan import Plan, steps_of


def as_written(topology):
    return Plan(topology, steps_of(topology), topology)


def test_every_read_of_a_dense_average_is_listed():
    plan = as_written(families.dense(4, inner=False))
    found = readers(plan)
    assert {value: len(places) for value, places in found.items()} == {"x0": 4, "y1": 4, "y2": 3, "y3": 2, "y4": 1}
    for value, places in found.items():
        assert all(plan.mixes[n].reads[j] == value for n, j in places)
    assert joint(plan) == (False,) * 4, "of one output"


def test_groups_are_joint_where_that_moves_less():
    plan = graphs.lower(families.dense(48, inner=False))
    shapes = [(len(mix.writes), len(mix.reads)) for mix in plan.mixes]
    for (m, k), together in zip(shapes, joint(plan), strict=True):
        assert together == (m > 1 and m + 3 * k < m * k), (m, k)
    assert any(joint(plan))


def test_streams_that_only_one_mix_reads_are_its_own():
    plan = graphs.lower(families.hyper(12, streams=4))
    assert any(len(mix.writes) > 1 for mix in plan.mixes)
    assert not any(
        together and all(len(readers(plan)[value]) == 1 for value in mix.reads)
        for mix, together in zip(plan.mixes, joint(plan), strict=True)
    )


def test_what_is_not_fused():
    for topology, count in (
        (families.residual(3), 0),
        (families.stochastic_depth(3), 0),
        (families.densenet(3), 0),
        (families.layerscale(3), 3),
        (families.attnres(3), 3),
    ):
        assert sum(map(fusible, graphs.lower(topology).mixes)) == count, topology
