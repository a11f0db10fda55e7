"""The command that says what observing costs."""

from service.observing_cost import OFF, main, ways


def test_it_measures_each_way_to_observe(tiny_artifact, tmp_path, capsys):
    assert main(["--model-dir", str(tiny_artifact), "--products", "3", "--requests", "2", "--rounds", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == list(ways("", tmp_path))
    for line in lines[2:]:
        assert float(line.split(" | ")[1].split()[0]) > 0
    assert lines[2].startswith(f"| {OFF} |")
