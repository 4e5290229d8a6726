from graphs import Block, Mix, Parameter, Topology, families
from graphs.passes.linear import Names, composable
from graphs.topology import Norm
from graphs.weights import CHANNEL, MATRIX, Bernoulli, Generated, Grain, ones


def test_what_may_be_composed():
    def mix(weight, **more):
        return Mix(("a",), ("b",), weight, **more)

    assert composable(mix(ones(1, 1)))
    assert composable(mix(Parameter("p", ((1,),), grain=CHANNEL)))
    assert composable(mix(Parameter("p", ((1,),), grain=Grain(4, full=True))))
    assert not composable(mix(Parameter("p", ((1,),), grain=MATRIX))), "products of dim x dim matrices cost too much"
    assert not composable(mix(Bernoulli("b", ((0.5,),)))), "a draw is one draw for all that read it"
    assert not composable(mix(Generated("g", (1, 1), (0,)), keys=("a",)))
    assert not composable(mix(ones(1, 1), norm=Norm("n")))
    assert not composable(Block(1, ("a",), "b"))
    assert not composable(None)


def test_names_are_new():
    topology = Topology((Block(1, ("p2",), "p1"), Mix(("p1",), ("p4",), ones(1, 1))), "p4", 1, stem="p2")
    names = Names(topology, "p")
    assert [names.fresh() for _ in range(3)] == ["p3", "p5", "p6"]
    assert Names(families.residual(2), "y").fresh() == "y3"
