from tessera.engine.openvino.graph import padded


def test_padding_is_short_and_leaves_few_numbers_of_rows() -> None:
    for n_rows in range(1, 2_001):
        assert 0 <= padded(n_rows) - n_rows < 16, n_rows
        assert padded(padded(n_rows)) == padded(n_rows), n_rows
    assert all(padded(n_rows) == n_rows for n_rows in range(65)), "decoding pays for no row more"
    assert len({padded(n_rows) for n_rows in range(1, 2_001)}) < 200
