"""The event language: one tree, and its spellings as text, steps (YAML, JSON), Python and URL."""

from pipeline.events.errors import QuestionError
from pipeline.events.kinds import Kind, check_question, kind_of
from pipeline.events.parse import parse, parse_expression, parse_region, parse_threshold, parse_window
from pipeline.events.read_steps import Pair, batch_from_yaml, from_steps, from_url, from_yaml
from pipeline.events.steps import question_id, to_steps, to_yaml
from pipeline.events.tree import Expression, Question
from pipeline.events.write import expression_text, question_text, question_url, step_text

__all__ = [
    "Expression",
    "Kind",
    "Pair",
    "Question",
    "QuestionError",
    "batch_from_yaml",
    "check_question",
    "expression_text",
    "from_steps",
    "from_url",
    "from_yaml",
    "kind_of",
    "parse",
    "parse_expression",
    "parse_region",
    "parse_threshold",
    "parse_window",
    "question_id",
    "question_text",
    "question_url",
    "step_text",
    "to_steps",
    "to_yaml",
]
