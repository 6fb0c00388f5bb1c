"""Another project's first files: what cargo said and the sources tell, and what becomes of it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from kindloop import loading, manifestfacts, scaffold
from kindloop.errors import ConfigError, KindloopError, ToolMissing
from kindloop.scaffold import Binary, Clue, Clues, Project, Service, Wishes, clues, facts

SERVICE = Path(__file__).parents[1] / "service"
GREETER = Binary("greeter", "greeter")


def package(name: str, folder: str, *bins: str, **more: Any) -> dict[str, Any]:
    """A package as `cargo metadata` tells it."""
    targets = [{"kind": ["bin"], "name": b, "src_path": f"/w/{folder}/src/main.rs"} for b in bins]
    targets.append({"kind": ["lib"], "name": name, "src_path": f"/w/{folder}/src/lib.rs"})
    path = os.path.normpath(f"/w/{folder}/Cargo.toml")
    found = {"name": name, "id": name, "manifest_path": path, "targets": targets}
    return {**found, "dependencies": [], "default_run": None, **more}


def project(*packages: dict[str, Any]) -> Project:
    members = [each["id"] for each in packages]
    return facts.read({"workspace_root": "/w", "workspace_members": members, "packages": packages})


def needs(name: str, path: str = "", kind: str | None = None) -> dict[str, Any]:
    return {"name": name, "kind": kind, **({"path": path} if path else {})}


def draft(
    binary: Binary, inputs: Sequence[str], found: Clues, wishes: Wishes, *, root: str = "."
) -> scaffold.Draft:
    """The files for one service."""
    return scaffold.draft_all([Service(binary, inputs, found)], wishes, root=root)


# -- what cargo says


def test_binaries_with_what_they_are_built_from() -> None:
    found = project(
        package("api", "api", "api", dependencies=[needs("axum"), needs("model", "/w/model")]),
        package("model", "model", dependencies=[needs("base", "/base"), needs("dev", "/d", "dev")]),
    )
    assert found.root == Path("/w")
    assert found.binaries == (
        Binary("api", "api", "api", "api/src/main.rs", server="axum", needs=("../base", "model")),
    )


def test_a_package_of_another_workspace_is_none_of_ours() -> None:
    foreign = package("foreign", "foreign", "foreign")
    document = {"workspace_root": "/w", "workspace_members": [], "packages": [foreign]}
    assert facts.read(document).binaries == ()


def test_features_without_which_it_is_not_built() -> None:
    api = package("api", ".", "api")
    api["targets"][0]["required-features"] = ["cli", "serve"]
    (binary,) = project(api).binaries
    files = draft(binary, ["src"], Clues(), Wishes()).files
    stage = yaml.safe_load(files["kindloop.yaml"])["stages"]["api"]
    assert stage["run"] == "cargo build --release -p api --bin api --features cli,serve"


def test_inputs_are_those_that_are_there(tmp_path: Path) -> None:
    for name in ("api/src/main.rs", "api/Cargo.toml", "api/templates/x", "model/src/lib.rs",
                 "model/build.rs", "Cargo.toml", ".cargo/config.toml", "docs/x"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    binary = Binary("api", "api", "api", "api/src/main.rs", needs=("model",))
    assert Project(tmp_path, (binary,)).inputs(binary) == (
        "api/src", "api/Cargo.toml", "api/templates", "model/src", "model/build.rs",
        "Cargo.toml", ".cargo/config.toml",
    )  # fmt: skip


def test_sources_at_an_unusual_place_are_inputs(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server/main.rs").touch()
    binary = Binary("api", "api", ".", "server/main.rs")
    assert Project(tmp_path, (binary,)).inputs(binary) == ("server",)


def test_cargo_is_asked_about_the_service_of_these_tests() -> None:
    found = scaffold.inspect(SERVICE)
    assert found == Project(SERVICE, (Binary("greeter", "greeter", server="hyper"),))


def test_a_folder_without_a_project(tmp_path: Path) -> None:
    text = r"there is no Cargo.toml in .* or a folder above it"
    with pytest.raises(ConfigError, match=text) as caught:
        scaffold.inspect(tmp_path)
    assert caught.value.exit_code == 2


def test_a_manifest_that_cargo_does_not_take(tmp_path: Path) -> None:
    (tmp_path / "Cargo.toml").write_text("[package]\nname = 1\n")
    with pytest.raises(ConfigError, match="cargo does not take this project") as caught:
        scaffold.inspect(tmp_path)
    assert any("name" in line for line in caught.value.evidence)
    assert caught.value.exit_code == 2


def test_without_cargo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="cargo is not on PATH") as caught:
        scaffold.inspect(tmp_path)
    assert caught.value.exit_code == 7


# -- which binary


TWO = project(package("tool", "tool", "tool"), package("check", "check", "check"))
SHOP = project(
    package("orders", "orders", "orders", dependencies=[needs("axum")]),
    package("gateway", "gateway", "gateway", dependencies=[needs("hyper")]),
    package("admin", "admin", "admin"),
)


def test_several_binaries_are_listed() -> None:
    with pytest.raises(ConfigError) as caught:
        scaffold.choose(TWO)
    assert caught.value.exit_code == 2
    assert caught.value.message == "there are several binaries in /w"
    assert caught.value.evidence == ("check (package check)", "tool (package tool)")
    assert caught.value.hint == "invoke config.init --bin check"


def names(found: tuple[Binary, ...]) -> list[str]:
    return [each.name for each in found]


def test_the_named_one_the_only_one_and_the_default_one() -> None:
    assert names(scaffold.choose(TWO, "tool")) == ["tool"]
    assert names(scaffold.choose(project(package("api", ".", "api")))) == ["api"]
    usual = project(package("api", ".", "api", "admin", default_run="admin"))
    assert names(scaffold.choose(usual)) == ["admin"]


def test_the_ones_that_serve_are_taken_the_front_first() -> None:
    assert names(scaffold.choose(SHOP)) == ["gateway", "orders"]
    assert names(scaffold.choose(SHOP, "orders, admin/admin")) == ["orders", "admin"]
    assert names(scaffold.choose(SHOP, "orders,orders/orders")) == ["orders"], "named twice is once"
    alone = project(
        package("tool", "t", "tool"), package("a", "a", "a", dependencies=[needs("warp")])
    )
    assert names(scaffold.choose(alone)) == ["a"]


def test_binaries_of_one_package_that_serves_cannot_be_told_apart() -> None:
    both = project(package("api", ".", "api", "migrate", dependencies=[needs("axum")]))
    with pytest.raises(ConfigError, match="there are several binaries") as caught:
        scaffold.choose(both)
    assert caught.value.hint == "invoke config.init --bin api"
    assert "--bin ONE,OTHER" in caught.value.why


def test_a_name_that_is_not_there_and_one_that_is_there_twice() -> None:
    with pytest.raises(ConfigError, match="there is no binary nothing in /w") as caught:
        scaffold.choose(TWO, "nothing")
    assert caught.value.exit_code == 2
    assert len(caught.value.evidence) == 2
    twice = project(package("a", "a", "api"), package("b", "b", "api"))
    with pytest.raises(ConfigError) as caught:
        scaffold.choose(twice, "api")
    assert caught.value.hint == "invoke config.init --bin a/api"
    assert caught.value.why == "packages have one called api each"
    assert scaffold.choose(twice, "b/api")[0].package == "b"


def test_a_library_has_none() -> None:
    with pytest.raises(ConfigError, match="has no binary") as caught:
        scaffold.choose(project(package("api", ".")))
    assert caught.value.exit_code == 2


# -- what the sources tell


@pytest.mark.parametrize(
    ("line", "port"),
    [
        ('TcpListener::bind("0.0.0.0:3000")', "3000"),
        ('bind("[::]:3000")', "3000"),
        ("SocketAddr::from(([0, 0, 0, 0], 3001))", "3001"),
        ("SocketAddr::new(Ipv4Addr::UNSPECIFIED, 3002)", "3002"),
        ("const PORT: u16 = 3003;", "3003"),
        (
            "#[arg(long, default_value_t = 3004)]\n    /// Where it listens\n    pub port: u16,",
            "3004",
        ),
        ('#[clap(short, long, default_value = "3005")]\nport: u16', "3005"),
        ('bind("127.0.0.1:3006")', "3006"),
        ('Arg::new("port").long("port")\n.default_value("3010")', "3010"),
        ('Arg::new("port"), Arg::new("level").default_value("11")', None),
        ("fn default_port() -> u16 {\n    5000\n}", "5000"),
        ("let port = self.port.unwrap_or(4000);", "4000"),
        ('env::var("PORT").unwrap_or_else(|_| "3011".to_string())', "3011"),
        ('env::var("APP_PORT").ok().and_then(|p| p.parse().ok()).unwrap_or(3012)', "3012"),
        ("let report = x.unwrap_or(4000);", None),
        ('connect("http://127.0.0.1:3007")', None),
        ('connect("postgres://me@localhost:3008/x")', None),
        ('pool("localhost:5432")', None),
        ('// bind("0.0.0.0:3009")', None),
        ("let version = (1, 2, 3);", None),
    ],
)
def test_ports(line: str, port: str | None) -> None:
    found = clues.read({"src/main.rs": f"fn main() {{\n{line}\n}}\n"}).port
    assert (found.value if found else None) == port
    assert found is None or found.at == "src/main.rs:2"


def test_tests_at_the_end_of_a_file_are_no_clue() -> None:
    text = 'fn main() {}\n\n#[cfg(test)]\nmod tests { const A: &str = "0.0.0.0:1234"; }\n'
    assert clues.read({"a.rs": text}) == Clues()


def test_an_address_for_everybody_comes_before_one_for_this_machine() -> None:
    found = clues.read({"a.rs": 'call("127.0.0.1:1234"); bind("0.0.0.0:8000")'})
    assert found.port == Clue("8000", "a.rs:1")
    assert found.here_only is None


def test_several_ports_are_no_port() -> None:
    found = clues.read({"a.rs": '"0.0.0.0:8000"\n"0.0.0.0:8000"', "b.rs": '"0.0.0.0:9000"'})
    assert found.port is None
    assert found.ports == (Clue("8000", "a.rs:1"), Clue("9000", "b.rs:1"))


def test_the_port_of_a_dockerfile() -> None:
    assert clues.read({"Dockerfile": "FROM x\nEXPOSE 7000\n"}).port == Clue("7000", "Dockerfile:2")
    both = {"Dockerfile": "EXPOSE 7000", "a.rs": '"0.0.0.0:8000"'}
    assert clues.read(both).port == Clue("8000", "a.rs:1")


def test_listening_for_this_machine_only_is_told() -> None:
    found = clues.read({"a.rs": 'bind("127.0.0.1:8000")'})
    assert found.here_only == Clue("127.0.0.1:8000", "a.rs:1")
    doubts = draft(GREETER, ["src"], found, Wishes()).doubts
    assert any(d.startswith("a.rs:1 has 127.0.0.1:8000: in a pod it must lis") for d in doubts)
    default = clues.read({"a.rs": '.default_value("127.0.0.1")'})
    assert default.here_only == Clue("127.0.0.1", "a.rs:1")


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ('.route("/ping", get(f)).route("/healthz", get(f))', "/healthz"),
        ('.route("/", get(index)).route("/health", get(f))', "/health"),
        ('.route("/", get(index))', "/"),
        ('.route("/", get(index)).route("/api/v1/health", get(f))', "/api/v1/health"),
        ('#[get("/")]', "/"),
        ('const HEALTH_CHECK_PATH: &str = "__files__/health";', "/__files__/health"),
        ('(&Method::GET, "/") => index()', "/"),
        ('let text = "healthy";', None),
    ],
)
def test_health_paths(line: str, path: str | None) -> None:
    found = clues.read({"a.rs": line}).health
    assert (found.value if found else None) == path


def test_a_service_that_reads_port_is_given_it() -> None:
    found = clues.read({"a.rs": 'let port = std::env::var("PORT");'})
    files = draft(GREETER, ["src"], found, Wishes(port=9000)).files
    workload = yaml.safe_load(files["kindloop.yaml"])["workloads"]["greeter"]
    assert workload["swap"]["env"] == {"RUST_LOG": "info", "PORT": "9000"}


@pytest.mark.parametrize(
    ("text", "args", "env"),
    [
        (
            '#[arg(short, long = "addr", conflicts_with_all = ["port"])]\n/// Where\naddr: SocketAddr,',
            ["--addr", "0.0.0.0:80"],
            {},
        ),
        ("#[arg(long)]\npub bind_addr: String", ["--bind-addr", "0.0.0.0:80"], {}),
        ("#[arg(long)]\nbind: IpAddr,", ["--bind", "0.0.0.0"], {}),
        ("#[arg(long)]\nlisten: String,\n#[arg(long)]\nport: u16", ["--listen", "0.0.0.0"], {}),
        ('Arg::new("ip").long("ip").default_value("127.0.0.1")', ["--ip", "0.0.0.0"], {}),
        (
            'Arg::new("b").long("bind").default_value("127.0.0.1:1")',
            ["--bind", "0.0.0.0:80"],
            {},
        ),
        ('var("HOST").unwrap_or("127.0.0.1".into())', [], {"HOST": "0.0.0.0"}),
        ('var("SHOP_BIND_ADDR").unwrap_or("x:1".into())', [], {"SHOP_BIND_ADDR": "0.0.0.0:80"}),
        ('var("DATABASE_HOST")', [], {}),
        ('var("HOSTNAME")', [], {}),
        ('var("APP_HOST")', [], {"APP_HOST": "0.0.0.0"}),
        ("#[arg(long)]\nhost: bool", [], {}),
        ("#[arg(short)]\nhost: String", [], {}),
    ],
)
def test_how_it_is_told_to_listen_for_others(
    text: str, args: list[str], env: dict[str, str]
) -> None:
    here = 'bind("127.0.0.1:8000");\n'
    found = clues.read({"a.rs": here + text}).listens
    if not args and not env:
        assert found is None
        return
    assert found
    assert (list(found.words(80)), found.variables(80)) == (args, env)
    assert found.at == "a.rs:2"
    assert clues.read({"a.rs": f'bind("0.0.0.0:1");\n{text}'}).listens in (None, found)


def test_what_it_is_told_is_in_the_files() -> None:
    flag = '#[arg(long)]\naddr: SocketAddr,\n"127.0.0.1:8000"'
    made = draft(GREETER, ["src", "Cargo.lock"], clues.read({"a.rs": flag}), Wishes(health="/"))
    pod = objects(made.files, "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"] == ["--addr", "0.0.0.0:8000"]
    assert made.told[-1] == "told to listen on all addresses: --addr 0.0.0.0:8000 (a.rs:1)"
    assert made.doubts == ()
    variable = clues.read({"a.rs": 'var("HOST").unwrap_or("127.0.0.1")'})
    files = draft(GREETER, ["src"], variable, Wishes()).files
    swap = yaml.safe_load(files["kindloop.yaml"])["workloads"]["greeter"]["swap"]
    assert swap["env"] == {"RUST_LOG": "info", "HOST": "0.0.0.0"}
    said = draft(GREETER, ["src"], clues.read({"a.rs": flag}), Wishes(args=("-x",))).files
    pod = objects(said, "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"] == ["-x"]


def test_rocket_listens_where_its_variables_say() -> None:
    found = clues.read({"a.rs": "rocket::build()"}, server="rocket")
    assert found.port == Clue("8000", "Rocket's own")
    assert found.listens
    assert found.listens.variables(8000) == {"ROCKET_ADDRESS": "0.0.0.0", "ROCKET_PORT": "8000"}


def test_what_lies_beside_the_sources_is_found(tmp_path: Path) -> None:
    for name in ("api/src/main.rs", "api/static/x", "docs/openapi.yaml", "config/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    binary = Binary("api", "api", "api", "api/src/main.rs")
    found = scaffold.collect(Project(tmp_path, (binary,)), binary)
    assert found.openapi == "docs/openapi.yaml"
    assert found.folders == ("api/static", "config")
    text = draft(binary, ["api/src"], found, Wishes(), root="rust").files["kindloop.yaml"]
    assert "openapi: rust/docs/openapi.yaml" in text
    assert "#   - {from: api/static, to: static}" in text


# -- the files


def test_nothing_is_left_to_be_filled_in() -> None:
    for root in (".", "rust"):
        made = draft(GREETER, ["src"], Clues(), Wishes(args=("a",), port=80), root=root)
        for name, text in made.files.items():
            assert re.findall(r"@\w+@", name + text) == [], name
            assert text.endswith("\n"), name
            assert "\n\n\n" not in text, name


def test_without_clues_the_defaults_are_told_as_guesses() -> None:
    made = draft(GREETER, ["src", "Cargo.lock"], Clues(), Wishes())
    assert made.told[1:] == ("port 8080 (a guess)", "health path / (a guess)")
    assert len(made.doubts) == 2
    said = draft(GREETER, ["src", "Cargo.lock"], Clues(), Wishes(port=1234, health="/up"))
    assert said.told[1:] == ("port 1234 (as you said)", "health path /up (as you said)")
    assert said.doubts == ()


def test_a_lock_file_that_is_not_there_yet_is_told() -> None:
    (doubt,) = draft(GREETER, ["src"], Clues(), Wishes(port=1, health="/")).doubts
    assert doubt.startswith("there is no Cargo.lock yet")


def test_several_ports_are_listed_with_their_places() -> None:
    found = Clues(ports=(Clue("1", "a.rs:1"), Clue("2", "b.rs:2")))
    doubts = draft(GREETER, ["src"], found, Wishes()).doubts
    assert "several ports are in the sources: 1 (a.rs:1), 2 (b.rs:2); --port says which" in doubts


def objects(files: Any, kind: str) -> dict[str, Any]:
    documents = [yaml.safe_load(text) for name, text in files.items() if name.endswith(".yaml")]
    return next(d for d in documents if d.get("kind") == kind)


def test_one_name_runs_through_all_files() -> None:
    found = Clues(port=Clue("3000", "a"), health=Clue("/up", "b"))
    files = draft(Binary("pet_store", "pets"), ["src"], found, Wishes()).files
    ours = yaml.safe_load(files["kindloop.yaml"])
    assert ours["name"] == "pet-store-dev"
    assert ours["stages"]["pet_store"]["run"].endswith("-p pets --bin pet_store")
    assert ours["workloads"]["pet-store"]["swap"]["artifact"] == "pet_store"
    assert ours["workloads"]["pet-store"]["health"] == "/up"
    pod = objects(files, "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["name"] == pod["containers"][0]["image"] == "pet-store"
    assert pod["containers"][0]["ports"] == [{"name": "http", "containerPort": 3000}]
    assert pod["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/up"
    assert objects(files, "Service")["spec"]["ports"][0]["nodePort"] == 30080
    assert objects(files, "Namespace")["metadata"]["name"] == "pet-store-dev"
    assert objects(files, "Cluster")["name"] == "pet-store-dev"
    docker = files["dockerfiles/Dockerfile.dev"]
    assert 'ENTRYPOINT ["/app/supervisor", "--binary", "/app/pet_store", "--"]' in docker
    compile(files["tasks.py"], "tasks.py", "exec")


def test_arguments_are_words_of_the_container() -> None:
    args = ("--addr", "0.0.0.0:3000", "on", "1.10", "a b: c", "-", "it's", "@port@")
    files = draft(GREETER, ["src"], Clues(), Wishes(args=args)).files
    pod = objects(files, "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"] == list(args)


def test_guesses_are_things_to_do_in_the_file() -> None:
    text = draft(GREETER, ["src"], clues.read({"a.rs": 'bind("localhost")'}), Wishes()).files
    todo = [line for line in text["kindloop.yaml"].splitlines() if "# TODO: " in line]
    assert len(todo) == 2
    assert all(len(line) <= 100 for line in todo)
    here = draft(GREETER, ["src"], clues.read({"a.rs": 'bind("127.0.0.1:80")'}), Wishes()).files
    assert "# TODO: a.rs:1 has 127.0.0.1:80: it must be 0.0.0.0 in a pod." in here["kindloop.yaml"]
    sure = Clues(port=Clue("1", "a"), health=Clue("/h", "a"))
    assert "TODO" not in draft(GREETER, ["src"], sure, Wishes()).files["kindloop.yaml"]


def several(wishes: Wishes) -> scaffold.Draft:
    front = Service(Binary("gateway", "gateway"), ["a/src"], Clues(port=Clue("3000", "a")))
    back = Service(Binary("order_book", "o"), ["b/src"], Clues(port=Clue("4000", "b")))
    return scaffold.draft_all([front, back], wishes, title="My Shop")


def test_several_services_are_several_workloads() -> None:
    made = several(Wishes())
    ours = yaml.safe_load(made.files["kindloop.yaml"])
    assert ours["name"] == "my-shop-dev"
    assert list(ours["stages"]) == ["gateway", "order_book"]
    first, second = ours["workloads"]["gateway"], ours["workloads"]["order-book"]
    assert first["url"] == "http://127.0.0.1:{ports.petstore}"
    assert "url" not in second
    assert second["manifests"] == "k8s/app/order-book"
    assert second["swap"]["artifact"] == "order_book"
    ports = [
        yaml.safe_load(made.files[f"k8s/app/{name}/service.yaml"])["spec"]
        for name in ("gateway", "order-book")
    ]
    assert [one["type"] for one in ports] == ["NodePort", "ClusterIP"]
    assert "nodePort" not in ports[1]["ports"][0]
    assert "/app/order_book" in made.files["dockerfiles/Dockerfile.order-book"]
    assert any("http://order-book" in doubt for doubt in made.doubts)


@pytest.mark.parametrize("wishes", [Wishes(port=1), Wishes(health="/"), Wishes(args=("a",))])
def test_what_is_for_one_service_is_refused_for_several(wishes: Wishes) -> None:
    with pytest.raises(ConfigError, match="are for one service") as caught:
        several(wishes)
    assert caught.value.exit_code == 2
    assert caught.value.hint == "invoke config.init --bin gateway"


@pytest.mark.parametrize("second", [Binary("web", "b"), Binary("web", "web"), Binary("WEB", "b")])
def test_two_services_of_one_name_are_refused(second: Binary) -> None:
    twins = [Service(one, ["src"], Clues()) for one in (Binary("web", "a"), second)]
    with pytest.raises(ConfigError, match="2 services would be called web") as caught:
        scaffold.draft_all(twins, Wishes(), title="shop")
    assert caught.value.exit_code == 2
    assert caught.value.evidence == ("web (package a)", str(second))
    assert caught.value.hint.endswith("invoke config.init --bin a/web")


def test_a_port_of_root_is_opened_for_the_pod() -> None:
    def sysctls(port: int) -> Any:
        files = draft(GREETER, ["src"], Clues(), Wishes(port=port)).files
        pod = objects(files, "Deployment")["spec"]["template"]["spec"]
        return pod["securityContext"].get("sysctls")

    assert sysctls(80) == [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}]
    assert sysctls(1024) is None


def test_many_inputs_are_a_list_of_lines() -> None:
    inputs = [f"crates/number {n}/src" for n in range(9)]
    text = draft(GREETER, inputs, Clues(), Wishes()).files["kindloop.yaml"]
    assert yaml.safe_load(text)["stages"]["greeter"]["inputs"] == inputs
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("binary", "wishes", "text"),
    [
        ("supervisor", Wishes(), "as process 1 of the pod is"),
        ("___", Wishes(), "gives no name of a Deployment"),
        ("a", Wishes(name="My_App"), "My_App is no name of an environment"),
        ("a", Wishes(port=9909), "--port 9909 is no port"),
        ("a", Wishes(health="health"), "--health health is no path"),
        ("a", Wishes(health="/a b"), "is no path"),
    ],
)
def test_what_cannot_be(binary: str, wishes: Wishes, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        draft(Binary(binary, "a"), ["src"], Clues(), wishes)
    assert caught.value.exit_code == 2
    assert caught.value.hint


# -- writing


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """A copy of the service of these tests, as its author has it."""
    made = tmp_path / "service"
    return shutil.copytree(SERVICE, made, ignore=shutil.ignore_patterns("target", ".kindloop"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def begin(folder: Path, wishes: Wishes | None = None, **more: str) -> None:
    scaffold.write(*scaffold.draft_for(folder, wishes or Wishes(), **more))


@pytest.mark.parametrize("wishes", [Wishes(), Wishes(into="deploy/kindloop"), Wishes(tasks=False)])
def test_what_is_written_is_what_loading_takes(service: Path, wishes: Wishes) -> None:
    begin(service, wishes)
    config = loading.load(service / "kindloop.yaml", env={})
    assert config.app.root == service
    assert list(config.stages) == ["greeter", "supervisor"]
    (workload,) = config.workloads.values()
    assert config.core
    assert manifestfacts.mistakes([config.core, workload.manifests]) == []
    assert (service / "tasks.py").exists() == wishes.tasks
    assert (service / ".kindloop/.gitignore").read_text() == "*\n"


def test_the_files_lie_beside_cargo_toml_wherever_one_stands(service: Path) -> None:
    place, _ = scaffold.draft_for(service / "src", Wishes())
    assert place == service


def test_a_workspace_in_a_folder_of_the_checkout(service: Path) -> None:
    begin(service.parent, root="service")
    config = loading.load(service.parent / "kindloop.yaml", env={})
    assert config.app.root == service
    assert not (service / "kindloop.yaml").exists()


def test_what_is_there_is_listed_and_nothing_is_written(service: Path) -> None:
    for name in ("k8s/app/service.yaml", "dockerfiles/Dockerfile.dev"):
        (service / name).parent.mkdir(parents=True)
        (service / name).write_text("mine")
    before = files_of(service)
    with pytest.raises(ConfigError) as caught:
        begin(service)
    assert caught.value.exit_code == 2
    told = "dockerfiles/Dockerfile.dev, k8s/app/service.yaml are there already in"
    assert caught.value.message == f"{told} {service}"
    assert caught.value.hint == "invoke config.init --into kindloop"
    assert files_of(service) == before
    begin(service, Wishes(into="kindloop"))
    assert before.items() <= files_of(service).items()


def test_a_workspace_of_two_services_is_what_loading_takes(tmp_path: Path) -> None:
    (tmp_path / "Cargo.toml").write_text(
        '[workspace]\nmembers = ["web", "stock"]\nresolver = "2"\n'
    )
    for name in ("web", "stock"):
        (tmp_path / name / "src").mkdir(parents=True)
        (tmp_path / name / "src/main.rs").write_text('fn main() { serve("0.0.0.0:3000") }\n')
        (tmp_path / name / "Cargo.toml").write_text(
            f'[package]\nname = "{name}"\nversion = "0.1.0"\n\n[dependencies]\nhyper = "1"\n'
        )
    begin(tmp_path)
    config = loading.load(tmp_path / "kindloop.yaml", env={})
    assert list(config.workloads) == ["web", "stock"]
    assert [one.url for one in config.workloads.values()] == ["http://127.0.0.1:8080", ""]
    folders = [one.manifests for one in config.workloads.values()]
    assert config.core
    assert manifestfacts.mistakes([config.core, *folders]) == []


def test_a_second_time_says_that_it_has_begun(service: Path) -> None:
    begin(service)
    before = files_of(service)
    with pytest.raises(ConfigError, match=r"kindloop\.yaml is there already") as caught:
        begin(service)
    assert caught.value.exit_code == 2
    assert caught.value.hint.startswith("invoke config.check")
    assert files_of(service) == before


def test_a_tasks_file_of_somebody_else_is_left_alone(service: Path) -> None:
    (service / "tasks.py").write_text("ns = None\n")
    with pytest.raises(ConfigError, match=r"tasks\.py is there already") as caught:
        begin(service)
    assert caught.value.hint.startswith("invoke config.init --no-tasks; add to tasks.py: from ")
    begin(service, Wishes(tasks=False))
    assert (service / "tasks.py").read_text() == "ns = None\n"


def test_a_tasks_file_with_our_tasks_is_kept(service: Path) -> None:
    """Who calls `invoke config.init` has one."""
    text = "from kindloop.tasks import collection\n\nns = collection()\n"
    (service / "tasks.py").write_text(text)
    begin(service)
    assert (service / "tasks.py").read_text() == text


def test_a_link_to_nowhere_is_there_too(service: Path) -> None:
    (service / "dockerfiles").mkdir()
    (service / "dockerfiles/Dockerfile.dev").symlink_to("/no/such/file")
    with pytest.raises(ConfigError, match="is there already"):
        begin(service)


@pytest.mark.parametrize("blocked", ["k8s", "k8s/app", "dockerfiles"])
def test_a_file_in_the_way_of_a_folder_leaves_nothing_behind(service: Path, blocked: str) -> None:
    (service / blocked).parent.mkdir(exist_ok=True)
    (service / blocked).write_text("a file")
    before, folders = files_of(service), {p for p in service.rglob("*") if p.is_dir()}
    with pytest.raises(KindloopError, match="cannot be written") as caught:
        begin(service)
    assert caught.value.exit_code == 1
    assert caught.value.hint.startswith("ls -ld ")
    assert files_of(service) == before
    assert {p for p in service.rglob("*") if p.is_dir()} == folders


def test_an_interrupt_leaves_nothing_behind(service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, mkdir, made = files_of(service), Path.mkdir, []

    def third(path: Path, *args: Any, **kwargs: Any) -> None:
        made.append(path)
        if len(made) > 3:
            raise KeyboardInterrupt
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", third)
    with pytest.raises(KeyboardInterrupt):
        begin(service)
    assert files_of(service) == before
    assert [path for path in made if path.exists()] == []


def test_a_folder_that_is_none(service: Path) -> None:
    with pytest.raises(ConfigError, match="--root nothing is no folder"):
        begin(service, root="nothing")


def test_the_real_cargo_is_not_asked_twice(
    service: Path, fake: Callable[..., Path], tmp_path: Path
) -> None:
    """One question, without the network: `--no-deps` resolves nothing."""
    real = json.dumps(
        {"workspace_root": str(service), "workspace_members": ["x"], "packages": [
            package("greeter", ".", "greeter", id="x", manifest_path=f"{service}/Cargo.toml")
        ]}
    )  # fmt: skip
    fake("cargo", f"echo \"$*\" >>{tmp_path}/calls\ncat <<'E'\n{real}\nE")
    begin(service)
    assert (tmp_path / "calls").read_text() == "metadata --format-version=1 --no-deps\n"
