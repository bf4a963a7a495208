"""Small faults of a source file, one at a time, by its syntax tree."""

import ast
from dataclasses import dataclass

_COMPARED = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_COMPUTED = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "/",
    ast.Mod: "*",
    ast.Pow: "*",
    ast.BitAnd: "|",
    ast.BitOr: "&",
}
_CALLED = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "minimum": "maximum",
    "maximum": "minimum",
    "floor": "ceil",
    "ceil": "floor",
    "argmin": "argmax",
    "argmax": "argmin",
    "amin": "amax",
    "amax": "amin",
    "zeros": "ones",
    "ones": "zeros",
}


@dataclass(frozen=True)
class Mutation:
    """One fault.

    Attributes
    ----------
    kind : str
        What is changed.
    start, stop : int
        Bytes of the source that are replaced.
    new : str
        By what.
    line : int
        Of the source, from 1.
    stop_line : int
        Last line of the statement that it is a part of.
    """

    kind: str
    start: int
    stop: int
    new: str
    line: int
    stop_line: int

    def applied(self, source):
        """Source with the fault in it."""
        content = source.encode()
        return (
            content[: self.start] + self.new.encode() + content[self.stop :]
        ).decode()

    def shown(self, source):
        """What was and what is, in short."""
        old = " ".join(source.encode()[self.start : self.stop].decode().split())
        return f"{old or '(nothing)'} -> {self.new}"


def mutations_of(source):
    """All faults of a source, in its order."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    found = {(m.start, m.stop, m.new): m for m in finder.found}
    return sorted(found.values(), key=lambda m: (m.start, m.stop, m.new))


class _Finder(ast.NodeVisitor):
    """Collect what can be changed; texts, types and imports are left alone."""

    def __init__(self, source):
        self.content = source.encode()
        self.offsets = [0]
        for line in self.content.splitlines(keepends=True):
            self.offsets.append(self.offsets[-1] + len(line))
        self.found = []
        self.statement = None

    def _place(self, node):
        start = self.offsets[node.lineno - 1] + node.col_offset
        stop = self.offsets[node.end_lineno - 1] + node.end_col_offset
        return start, stop

    def _text(self, node):
        start, stop = self._place(node)
        return self.content[start:stop].decode()

    def _add(self, kind, start, stop, new, line):
        last = getattr(self.statement, "end_lineno", line)
        if hasattr(self.statement, "body"):  # of a block only its head
            last = max(line, self.statement.body[0].lineno - 1)
        self.found.append(Mutation(kind, start, stop, new, line, last))

    def _replace(self, kind, node, new):
        self._add(kind, *self._place(node), new, node.lineno)

    def _operator(self, kind, left, right, new):
        """Replace what stands between two operands, brackets left in place."""
        start, stop = self._place(left)[1], self._place(right)[0]
        between = self.content[start:stop].decode()
        old = between.replace("(", " ").replace(")", " ").split("#")[0].strip()
        if old == "" or between.count(old) != 1:
            return
        at = start + between.index(old)
        line = left.end_lineno + between[: between.index(old)].count("\n")
        self._add(kind, at, at + len(old.encode()), new, line)

    def visit(self, node):
        if isinstance(node, ast.stmt):
            before, self.statement = self.statement, node
            super().visit(node)
            self.statement = before
        else:
            super().visit(node)

    # What is left alone.

    def visit_Import(self, node):
        pass

    visit_ImportFrom = visit_Import

    def visit_Raise(self, node):
        pass

    def visit_Assert(self, node):
        pass

    def visit_JoinedStr(self, node):
        pass

    def visit_If(self, node):
        if self._text(node.test) == "TYPE_CHECKING":
            return
        self._replace("condition", node.test, f"not ({self._text(node.test)})")
        self.generic_visit(node)

    def visit_While(self, node):
        self.generic_visit(node)

    def visit_IfExp(self, node):
        self._replace("condition", node.test, f"(not ({self._text(node.test)}))")
        self.generic_visit(node)

    def visit_FunctionDef(self, node):
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        for decorator in node.decorator_list:
            self.visit(decorator)
        for part in node.body:
            self.visit(part)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node):
        names = [t.id for t in node.targets if isinstance(t, ast.Name)]
        if names in (["__all__"], ["_parameter_constraints"]):
            return
        self.generic_visit(node)

    def visit_AugAssign(self, node):
        self._replace("statement", node, "pass")
        new = _COMPUTED.get(type(node.op))
        if new is not None:
            start, stop = self._place(node.target)[1], self._place(node.value)[0]
            at = self.content.index(b"=", start, stop)
            begin = (
                start
                + len(self.content[start:at])
                - len(self.content[start:at].lstrip())
            )
            self._add("operator", begin, at, new, node.lineno)
        self.visit(node.value)

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Constant):  # a docstring
            return
        if "warn" not in self._text(node).split("(")[0]:
            self._replace("statement", node, "pass")
        self.generic_visit(node)

    def visit_Return(self, node):
        if node.value is not None and self._text(node.value) != "None":
            self._replace("value", node.value, "None")
            self.visit(node.value)

    def visit_Compare(self, node):
        operands = [node.left, *node.comparators]
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False):
            self._operator("comparison", left, right, _COMPARED[type(op)])
        self.generic_visit(node)

    def visit_BinOp(self, node):
        new = _COMPUTED.get(type(node.op))
        if new is not None:
            self._operator("operator", node.left, node.right, new)
        self.generic_visit(node)

    def visit_BoolOp(self, node):
        new = "or" if isinstance(node.op, ast.And) else "and"
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._operator("logic", left, right, new)
        self.generic_visit(node)

    def visit_UnaryOp(self, node):
        self._replace("sign", node, f"({self._text(node.operand)})")
        self.generic_visit(node)

    def visit_Constant(self, node):
        value = node.value
        if value is True or value is False:
            self._replace("constant", node, str(not value))
        elif type(value) is int:
            self._replace("constant", node, str(value + 1))
        elif type(value) is float:
            self._replace("constant", node, repr(2.0 * value if value else 1.0))

    def visit_Call(self, node):
        func = node.func
        if isinstance(func, ast.Name) and func.id in ("cast", "TypeVar", "ValueError"):
            return
        name = func.id if isinstance(func, ast.Name) else getattr(func, "attr", "")
        if name == "warn":
            return
        if name in _CALLED:
            stop = self._place(func)[1]
            start = stop - len(name)
            self._add("call", start, stop, _CALLED[name], func.end_lineno)
        self.generic_visit(node)
