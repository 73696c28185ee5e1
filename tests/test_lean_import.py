"""asyncssh is imported without what no tunnel needs, and nothing that somebody may need is lost."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from tests.e2e.bed.product import package_folder


def run(program: str) -> str:
    """Run a program in a fresh interpreter, where nothing has been imported; what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": package_folder(), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_asyncssh_loads_no_library_that_only_tokens_and_cards_need() -> None:
    loaded = run("""
        import sys
        from tunnels import lean_import
        lean_import.install()
        import asyncssh
        print(*{name.split(".")[0] for name in sys.modules})
    """).split()
    assert "asyncssh" in loaded
    assert {"fido2", "pkcs11", "gssapi", "asn1crypto"}.isdisjoint(loaded)


def test_the_libraries_can_be_imported_afterwards() -> None:
    assert (
        run("""
        import importlib.util
        from tunnels import lean_import
        lean_import.install()
        import asyncssh, fido2.hid, pkcs11
        print(asyncssh.__spec__.loader is asyncssh.__loader__, type(asyncssh.__loader__).__name__)
    """)
        == "True SourceFileLoader"
    )


def test_a_library_that_is_loaded_already_stays() -> None:
    assert (
        run("""
        import sys, fido2
        from tunnels import lean_import
        lean_import.install()
        import asyncssh
        print(sys.modules["fido2"] is fido2, asyncssh.sk.sk_available)
    """)
        == "True True"
    )


def test_nothing_is_left_behind() -> None:
    assert (
        run("""
        import ctypes.util, sys
        before = {name: value for name, value in vars(ctypes.util).items() if callable(value)}
        finders = list(sys.meta_path)
        from tunnels import lean_import
        lean_import.install()
        lean_import.install()
        import asyncssh
        lean_import.install()
        now = {name: value for name, value in vars(ctypes.util).items() if callable(value)}
        print(before == now, finders == sys.meta_path)
    """)
        == "True True"
    )


def test_no_compiler_is_started() -> None:
    assert (
        run("""
        import subprocess, sys
        started = []
        sys.addaudithook(lambda name, args: name == "subprocess.Popen" and started.append(str(args[0])))
        from tunnels import lean_import
        lean_import.install()
        import asyncssh
        print([each for each in started if "ldconfig" not in each])
    """)
        == "[]"
    )


def test_a_security_key_finds_what_it_needs() -> None:
    assert (
        run("""
        import sys
        from tunnels import lean_import
        lean_import.install()
        from tunnels.ssh import security_keys
        import asyncssh
        assert not asyncssh.sk.sk_available and "fido2" not in sys.modules
        security_keys.wake()
        signs = {each.sk_sign for each in (asyncssh.sk, asyncssh.sk_ecdsa, asyncssh.sk_eddsa)}
        print(asyncssh.sk.sk_available, *(each.__name__ for each in signs))
    """)
        == "True sk_sign"
    )
