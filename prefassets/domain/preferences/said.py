"""What of an answer is said to the one who asked: not what a reasoning model thought before, nor how it is typed."""

DECLARED = "<refusal>"  # before what an endpoint gives as the model's refusal


def said(answer: str) -> str | None:
    """An answer without what was thought aloud, in lower case, with straight apostrophes; None if nothing was said yet.

    All up to the last </think> is thought, also where no <think> begins it: some chat templates put that in the prompt.
    A <think> that nothing closes was cut off before the answer.
    """
    text = answer.lower().rpartition("</think>")[2]
    return None if "<think>" in text else text.strip().replace("’", "'")
