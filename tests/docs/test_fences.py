"""Code blocks are found with what is said in front of them."""

from __future__ import annotations

from tests.docs.fences import blocks

PAGE = """# Title

```python
one = 1
```

<!-- not run: it needs a cluster -->

```console
$ helm install demo
```

<!-- prints -->
```text
1
```

- in a list

  ```env
  A=1
    B=2
  ```
"""


def test_a_block_has_its_language_its_text_and_its_line():
    first = blocks(PAGE)[0]
    assert (first.language, first.text, first.line) == ("python", "one = 1\n", 4)
    assert first.not_run == ""


def test_the_comment_before_a_block_belongs_to_it_alone():
    assert [block.comment for block in blocks(PAGE)] == [
        "",
        "not run: it needs a cluster",
        "prints",
        "",
    ]
    assert blocks(PAGE)[1].not_run == "it needs a cluster"


def test_the_indentation_of_a_list_is_not_part_of_the_text():
    assert blocks(PAGE)[3].text == "A=1\n  B=2\n"
