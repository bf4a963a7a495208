from sklgm._running import Runner


def test_only_what_an_interrupted_run_has_left_is_told(tmp_path):
    def told_by_a_run():
        told = []
        runner = Runner(lambda *step: told.append(step), folder=tmp_path, key="k")
        assert [runner.once("a stage", lambda: 1) for _ in range(3)] == [1, 1, 1]
        return told

    assert told_by_a_run() == []
    assert told_by_a_run() == [("stages (finished before)", 1, 1)]
