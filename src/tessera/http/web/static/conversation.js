// A conversation as a tree: an edit or a retry begins a branch, and what stood there before is kept. The branch that is
// shown leads from the first message to the last.

const ROLES = ["user", "assistant", "tool"];

export class Conversation {
  #root = { message: null, parent: null, children: [], chosen: 0 };

  // The nodes of the branch that is shown.
  path() {
    const nodes = [];
    for (let node = this.#root; (node = node.children[node.chosen]); ) nodes.push(node);
    return nodes;
  }

  messages() {
    return this.path().map(node => node.message);
  }

  last() {
    return this.path().at(-1) ?? this.#root;
  }

  // Adds a message, and shows it unless another one is to be shown.
  add(message, parent = this.last(), show = true) {
    const node = { message, parent, children: [], chosen: 0 };
    parent.children.push(node);
    if (show) parent.chosen = parent.children.length - 1;
    return node;
  }

  // Ends the branch before this node, whose siblings are kept. Returns what undoes it.
  cut(node) {
    const { parent } = node;
    const before = parent.chosen;
    parent.chosen = -1;
    return () => (parent.chosen = before);
  }

  choose(node) {
    node.parent.chosen = node.parent.children.indexOf(node);
  }

  // The sibling before or after; null at the end.
  beside(node, step) {
    const { children } = node.parent;
    return children[children.indexOf(node) + step] ?? null;
  }

  // The replies to the same request, of one or several models.
  turn(node) {
    const { turn } = node.message;
    return turn ? node.parent.children.filter(each => each.message.turn === turn) : [node];
  }

  // A branch with another text in place of this message. Results that follow are part of the same turn of calls.
  edit(node, content) {
    const rest = [];
    if (node.message.role === "tool")
      for (let next = node.children[node.chosen]; next?.message.role === "tool"; next = next.children[next.chosen])
        rest.push(next.message);
    let end = this.add({ ...node.message, content }, node.parent);
    for (const message of rest) end = this.add({ ...message }, end);
  }

  // Takes one message out; what follows it is kept.
  remove(node) {
    const { parent } = node;
    const n = parent.children.indexOf(node);
    for (const child of node.children) child.parent = parent;
    parent.children.splice(n, 1, ...node.children);
    parent.chosen = node.children.length ? n + node.chosen : Math.min(n, parent.children.length - 1);
  }

  // Each message with the number of the one before it; `shown` is the number of the last one that is shown.
  saved() {
    const nodes = [this.#root];
    for (const node of nodes) nodes.push(...node.children);
    const number = new Map(nodes.map((node, n) => [node, n - 1]));
    const messages = nodes.slice(1).map(({ message: { logprobs, ...message }, parent }) => ({ ...message, parent: number.get(parent) }));
    return { messages, shown: number.get(this.last()) };
  }

  // Of a file, in which anything may stand.
  static read(rows, shown = rows.length - 1) {
    const conversation = new Conversation();
    const nodes = [];
    for (const [n, row] of rows.entries()) {
      const known = Number.isInteger(row?.parent) && row.parent < n;
      const parent = nodes[known ? row.parent : n - 1] ?? conversation.#root;
      nodes.push(ROLES.includes(row?.role) ? conversation.add(imported(row), parent) : parent);
    }
    for (let node = nodes[shown]; node?.parent; node = node.parent) conversation.choose(node);
    return conversation;
  }
}

function imported(row) {
  const text = value => (typeof value === "string" ? value : "");
  const number = value => (Number.isFinite(value) ? value : 0);
  return {
    role: row.role, content: text(row.content), reasoning: text(row.reasoning), tool_call_id: text(row.tool_call_id),
    finish: text(row.finish), format: text(row.format) || "text", schema: row.schema ?? null, title: text(row.title),
    turn: number(row.turn),
    calls: (Array.isArray(row.calls) ? row.calls : []).map(call => ({
      id: text(call?.id), name: text(call?.name), arguments: text(call?.arguments), result: text(call?.result),
    })),
  };
}
