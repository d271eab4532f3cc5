"""``python -m tests.docs [PAGE...]`` plays pages and says how long each takes."""

from tests.docs.pages import main

main()
