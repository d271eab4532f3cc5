from tests.cli.conftest import verb

__all__ = ["verb"]
