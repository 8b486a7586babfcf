"""The namespace that a command to another workflow names.

Commands across namespaces are refused, as the reference does unless it is told otherwise. One that names a namespace
which does not exist refuses the whole completion, and the workflow task stays as it was.
"""

from temporalio.api.enums.v1 import WorkflowTaskFailedCause

from perdure.base.errors import NamespaceNotFound
from perdure.workflow.commands import BadCommand
from perdure.workflow.context import Context


def target_namespace_id(context: Context, name: str) -> str:
    """The id of the namespace `name`, "" = the workflow's own. Raises NamespaceNotFound."""
    if name in ("", context.namespace.name):
        return context.namespace.id
    namespace_id = context.namespace_ids.get(name)
    if namespace_id is None:
        raise NamespaceNotFound(name)
    return namespace_id


def refuse_other(context: Context, namespace_id: str, cause: WorkflowTaskFailedCause.ValueType) -> None:
    """Raises BadCommand unless it is the workflow's own namespace."""
    if namespace_id != context.namespace.id:
        raise BadCommand(cause, "cross namespace commands are not allowed")
