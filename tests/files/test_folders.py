"""Folders: making, renaming and moving, for scripts and for forms."""

from flask import Flask

from files import services, tree
from support.drive import Drive, code


def test_a_new_account_has_an_empty_top_folder(drive: Drive) -> None:
    assert drive.names() == []
    assert len(drive.root) == 22
    assert drive.page(f"/files/folder/{drive.root}").folder == drive.root


def test_folders_make_a_tree(drive: Drive) -> None:
    outer = drive.folder("outer")
    inner = drive.folder("inner", outer)
    drive.file("a.txt", b"123", inner)
    assert drive.names() == ["outer"]
    assert drive.names(outer) == ["inner"]
    page = drive.page(f"/files/folder/{inner}")
    assert page.rows[0] | {"id": ""} == {
        "id": "",
        "kind": "file",
        "name": "a.txt",
        "size": "3",
    }
    assert "outer" in page.text


def test_a_new_folder_says_what_it_is(drive: Drive) -> None:
    answer = drive.post(f"/files/folder/{drive.root}/folders", name="e\u0301")
    assert answer.status_code == 201
    made = answer.get_json()
    assert made["kind"] == "folder"
    assert made["name"] == "\u00e9"
    assert made["folder"] == drive.root


def test_a_form_leads_back_to_the_folder(drive: Drive) -> None:
    answer = drive.form(f"/files/folder/{drive.root}/folders", name="new")
    assert answer.status_code == 303
    assert answer.location == f"/files/folder/{drive.root}"
    assert "new" in drive.get(answer.location).text


def test_bad_names_are_refused(drive: Drive) -> None:
    file = drive.file("good")
    for name in ("", ".", "..", "a/b", "a\x00", "a\u202e", "x" * 256):
        answer = drive.post(f"/files/folder/{drive.root}/folders", name=name)
        assert (answer.status_code, code(answer)) == (400, "bad_name")
        answer = drive.post(f"/files/file/{file}/rename", name=name)
        assert (answer.status_code, code(answer)) == (400, "bad_name")
    assert drive.names() == ["good"]


def test_a_taken_name_is_refused(drive: Drive) -> None:
    folder = drive.folder("taken")
    file = drive.file("a")
    answer = drive.post(f"/files/folder/{drive.root}/folders", name="taken")
    assert (answer.status_code, code(answer)) == (409, "name_taken")
    answer = drive.post(f"/files/file/{file}/rename", name="taken")
    assert (answer.status_code, code(answer)) == (409, "name_taken")
    drive.file("a", b"", folder)
    answer = drive.post(f"/files/file/{file}/move", folder=folder)
    assert (answer.status_code, code(answer)) == (409, "name_taken")
    assert drive.names() == ["taken", "a"]


def test_names_differ_by_case(drive: Drive) -> None:
    drive.folder("A")
    drive.folder("a")
    assert drive.names() == ["A", "a"]


def test_renaming(drive: Drive) -> None:
    file = drive.file("a.txt", b"x")
    answer = drive.post(f"/files/file/{file}/rename", name="B.TXT")
    assert answer.get_json() == {
        "id": file,
        "kind": "file",
        "name": "B.TXT",
        "folder": drive.root,
    }
    assert drive.post(f"/files/file/{file}/rename", name="b.txt").status_code == 200
    assert drive.post(f"/files/file/{file}/rename", name="b.txt").status_code == 200
    assert drive.names() == ["b.txt"]
    assert drive.read(file).data == b"x"


def test_a_refused_rename_shows_the_form_with_the_reason(drive: Drive) -> None:
    file = drive.file("a")
    drive.file("b")
    answer = drive.form(f"/files/file/{file}/rename", name="b")
    assert answer.status_code == 409
    assert "already a file named" in answer.text
    answer = drive.form(f"/files/file/{file}/rename", name="")
    assert answer.status_code == 400
    answer = drive.form(f"/files/file/{file}/rename", name="c")
    assert answer.status_code == 303


def test_moving_a_file_and_a_folder(drive: Drive) -> None:
    target = drive.folder("target")
    folder = drive.folder("folder")
    file = drive.file("a", b"1234", folder)
    assert drive.post(f"/files/folder/{folder}/move", folder=target).status_code == 200
    answer = drive.post(f"/files/file/{file}/move", folder=target)
    assert answer.get_json()["folder"] == target
    assert drive.names() == ["target"]
    assert drive.names(target) == ["folder", "a"]
    assert drive.names(folder) == []


def test_moving_where_it_is_changes_nothing(drive: Drive) -> None:
    file = drive.file("a")
    answer = drive.post(f"/files/file/{file}/move", folder=drive.root)
    assert answer.status_code == 200
    assert drive.names() == ["a"]


def test_a_folder_never_goes_into_itself(drive: Drive) -> None:
    chain = [drive.folder("0")]
    for name in ("1", "2"):
        chain.append(drive.folder(name, chain[-1]))
    for target in chain:
        answer = drive.post(f"/files/folder/{chain[0]}/move", folder=target)
        assert (answer.status_code, code(answer)) == (409, "conflict")
    assert drive.names(chain[1]) == ["2"]


def test_the_top_folder_stays(drive: Drive) -> None:
    inside = drive.folder("inside")
    for verb, fields in (
        ("rename", {"name": "x"}),
        ("move", {"folder": inside}),
        ("delete", {}),
        ("purge", {}),
    ):
        answer = drive.post(f"/files/folder/{drive.root}/{verb}", **fields)
        assert answer.status_code == 409, verb
    assert drive.names() == ["inside"]


def test_a_selection_moves_as_a_whole_or_not_at_all(drive: Drive) -> None:
    target = drive.folder("target")
    first, second, third = (drive.file(name) for name in "abc")
    drive.file("c", b"", target)
    answer = drive.post(
        "/files/selection/move", entry=[first, second, third], folder=target
    )
    assert (answer.status_code, code(answer)) == (409, "name_taken")
    assert drive.names() == ["target", "a", "b", "c"]
    answer = drive.post("/files/selection/move", entry=[first, second], folder=target)
    assert [one["name"] for one in answer.get_json()["entries"]] == ["a", "b"]
    assert drive.names(target) == ["a", "b", "c"]


def test_the_chooser_needs_no_script(drive: Drive) -> None:
    target = drive.folder("target")
    inner = drive.folder("inner", target)
    chosen = drive.folder("chosen")
    file = drive.file("a")
    answer = drive.form("/files/selection/move", entry=[file, chosen])
    assert answer.status_code == 303
    page = drive.get(answer.location).text
    assert "target" in page
    page = drive.get(f"/files/choose?entry={file}&entry={chosen}&at={target}").text
    assert "inner" in page
    answer = drive.form("/files/selection/move", entry=[file, chosen], folder=inner)
    assert answer.status_code == 303
    assert drive.names(inner) == ["chosen", "a"]


def test_an_empty_selection_says_so(drive: Drive) -> None:
    assert drive.post("/files/selection/delete").status_code == 400
    assert drive.form("/files/selection/delete").status_code == 303


def test_folders_are_100_deep_at_most(drive: Drive, app: Flask) -> None:
    user_id = drive.user_id
    at = drive.root
    with app.app_context():
        for number in range(tree.MAX_DEPTH):
            at = services.create_folder(user_id, at, str(number)).id
    answer = drive.post(f"/files/folder/{at}/folders", name="too deep")
    assert (answer.status_code, code(answer)) == (400, "too_deep")
    drive.file("files are fine", b"", at)
    assert drive.names(at) == ["files are fine"]
    pair = drive.folder("pair")
    drive.folder("inside", pair)
    answer = drive.post(f"/files/folder/{pair}/move", folder=at)
    assert (answer.status_code, code(answer)) == (400, "too_deep")


def test_the_page_of_one_entry(drive: Drive) -> None:
    folder = drive.folder("folder")
    file = drive.file("a.txt", b"hello", folder)
    text = drive.get(f"/files/file/{file}").text
    # SHA-256 of "hello".
    assert "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" in text
    assert drive.get(f"/files/folder/{folder}/details").status_code == 200
    assert drive.get(f"/files/folder/{file}/details").status_code == 404
    assert drive.get(f"/files/file/{folder}").status_code == 404


def test_check_says_what_a_put_would_meet(drive: Drive) -> None:
    drive.file("a")
    url = f"/files/folder/{drive.root}/check"
    headers = {"Accept": "application/json"}

    def ask(query: dict[str, str]) -> tuple[int, str]:
        answer = drive.get(url, query_string=query, headers=headers)
        return answer.status_code, code(answer) if answer.data else ""

    assert ask({"name": "b", "size": "5"}) == (204, "")
    assert ask({"name": "a", "size": "5"}) == (409, "name_taken")
    assert ask({"name": "a", "size": "5", "replace": "1"}) == (204, "")
    assert ask({"name": "a/b", "size": "5"}) == (400, "bad_name")
