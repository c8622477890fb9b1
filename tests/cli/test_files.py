"""Every format says the same, and what is wrong with a file is said in one line."""

import h5py
import numpy as np
import pandas
import pytest
import scipy.sparse

from thalweg.cli.files import Table, Want, read_table, write_samples
from thalweg.core.errors import InputError

X = np.array([[1.5, -2.0], [0.25, 4.0], [3.0, 8.5]])
KIND = np.array(["b", "a", "b"])


def csv(path):
    path.write_text("u,v,kind\n" + "".join(f"{a},{b},{k}\n" for (a, b), k in zip(X, KIND, strict=True)))


def npz(path):
    np.savez(path, x=X, kind=KIND)


def parquet(path):
    pandas.DataFrame({"u": X[:, 0], "v": X[:, 1], "kind": pandas.Categorical(KIND)}).to_parquet(path)


def h5ad(path):
    with h5py.File(path, "w") as file:
        file["X"] = X
        file["obsm/pca"] = X[:, :1]
        sparse, group = scipy.sparse.csr_matrix(2 * X), file.create_group("layers/double")
        group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", X.shape
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(sparse, name)
        file["obs/kind/categories"], file["obs/kind/codes"] = np.array([b"a", b"b"], dtype="S1"), [1, 0, 1]
        file["var/_index"] = np.array(["u", "v"], dtype=object)
        file["var"].attrs["_index"] = "_index"


@pytest.mark.parametrize("write", [csv, npz, parquet, h5ad], ids=lambda f: f.__name__)
def test_formats_agree(write, tmp_path):
    path = tmp_path / f"data.{write.__name__}"
    write(path)
    table = read_table(path, Want(condition="kind"))
    np.testing.assert_array_equal(table.x, X)
    assert list(table.condition) == list(KIND)
    if write is not npz:
        assert table.columns == ("u", "v")
        np.testing.assert_array_equal(read_table(path, Want(columns=("v",))).x, X[:, 1:])
    with pytest.raises(InputError, match=r"unknown .*'knd'; did you mean 'kind'"):
        read_table(path, Want(condition="knd"))


def test_layers_and_obsm(tmp_path):
    path = tmp_path / "data.h5ad"
    h5ad(path)
    np.testing.assert_array_equal(read_table(path, Want(layer="double")).x, 2 * X)
    np.testing.assert_array_equal(read_table(path, Want(obsm="pca")).x, X[:, :1])
    with pytest.raises(InputError, match="unknown obsm 'pc'; did you mean 'pca'"):
        read_table(path, Want(obsm="pc"))


def test_a_table_without_a_header_and_with_tabs(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("1\t2\n3\t4\n")
    table = read_table(path)
    assert table.columns == ("0", "1")
    np.testing.assert_array_equal(table.x, [[1, 2], [3, 4]])


def test_empty_cells_are_missing_numbers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("u,v\n1,\n3,4\n")
    assert np.isnan(read_table(path).x[0, 1])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "u,v\n1,2\n3\n", "ragged: line 3 has 1 values, line 1 has 2"),
        ("a.csv", "u,v\n1,red\n3,4\n", "column 'v' is not numeric .row 0 holds 'red'"),
        ("a.csv", "", "is empty"),
        ("a.csv", "u,u\n1,2\n", "names a column twice"),
        ("a.npy", "not an array", "cannot be read"),
        ("a.npz", "not an archive", "cannot be read"),
        ("a.parquet", "not a table", "cannot be read"),
        ("a.h5ad", "not a file of arrays", "cannot be read"),
        ("a.xlsx", "", "cannot read .xlsx; expected .npy"),
    ],
)
def test_damaged_files(name, text, words, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words) as error:
        read_table(tmp_path / name)
    assert "\n" not in str(error.value)


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "a.npy")


def test_a_truncated_array(tmp_path):
    np.save(tmp_path / "a.npy", X)
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data[:-9])
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_what_is_written_is_read_back(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    write_samples(path, X.astype(np.float32), {"log_prob": np.arange(3.0)}, ("u", "v"))
    table: Table = read_table(path, Want(columns=("u", "v")) if suffix == ".csv" else Want())
    np.testing.assert_array_equal(table.x, X)


def test_an_unknown_suffix_to_write(tmp_path):
    with pytest.raises(InputError, match=r"expected .npy, .npz or .csv"):
        write_samples(tmp_path / "a.txt", X, {}, None)
