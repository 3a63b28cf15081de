"""Wrong changes of `notifier/asyncapi`."""

from support.mutation.mutant import Mutant

MUTANTS = (
    Mutant(
        "document-without-the-limits-of-a-source",
        "notifier/domain/message_shapes.py",
        '    source: Identifier = "/"',
        '    source: str = "/"',
        ("tests/unit/asyncapi/test_amqp.py::test_the_document_takes_what_the_decoder_takes",),
    ),
)
