import xml.etree.ElementTree as ElementTree

from nas.curve import sparkline, steps_svg


def test_a_sparkline_steps_up_where_the_curve_does():
    assert sparkline([(1, 1.0), (2, 1.0), (3, 2.0), (4, 4.0)], width=4) == "▃▃▅█"
    assert sparkline([(2, 4.0), (4, 4.0)], width=4) == "▁███"
    assert sparkline([], width=4) == ""
    assert sparkline([(3, 0.0)], width=4) == "▁▁▁▁"


def test_the_picture_is_whole_and_labelled():
    drawn = steps_svg([(1, 0.5), (4, 2.0)], "trials <finished>", "hypervolume")
    root = ElementTree.fromstring(drawn)
    words = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"trials <finished>", "hypervolume", "4", "2", "0"} <= set(words)
    path = next(each.get("d") for each in root.iter("{http://www.w3.org/2000/svg}path") if each.get("stroke-width"))
    assert path.count("H") == path.count("V") == 2
    ElementTree.fromstring(steps_svg([], "x", "y"))
