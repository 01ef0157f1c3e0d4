// JSON Schema in the browser: what the server will do with each keyword, and whether a reply keeps to the schema. The
// validation covers what the server enforces while it writes; the server itself validates everything.

const TYPES = {
  object: value => typeof value === "object" && value !== null && !Array.isArray(value),
  array: Array.isArray,
  string: value => typeof value === "string",
  number: value => typeof value === "number",
  integer: value => Number.isInteger(value),
  boolean: value => typeof value === "boolean",
  null: value => value === null,
};
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const length = text => [...text].length;
const MAX_DEPTH = 60;

// Subschemas by the keyword that holds them.
const ONE = new Set(["items", "additionalProperties", "additionalItems", "propertyNames", "contains", "not", "if", "then", "else", "unevaluatedProperties", "unevaluatedItems"]);
const MANY = new Set(["allOf", "anyOf", "oneOf", "prefixItems"]);
const NAMED = new Set(["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"]);

// Each keyword of the schema with the paths where it stands.
export function keywordsOf(schema, path = "", found = new Map(), depth = 0) {
  if (!TYPES.object(schema) || depth > MAX_DEPTH) return found;
  for (const [name, value] of Object.entries(schema)) {
    found.set(name, [...(found.get(name) ?? []), path || "/"]);
    const at = `${path}/${name}`;
    if (ONE.has(name) && TYPES.object(value)) keywordsOf(value, at, found, depth + 1);
    else if ((MANY.has(name) || name === "items") && Array.isArray(value))
      value.forEach((each, n) => keywordsOf(each, `${at}/${n}`, found, depth + 1));
    else if (NAMED.has(name) && TYPES.object(value))
      for (const [key, each] of Object.entries(value)) keywordsOf(each, `${at}/${key}`, found, depth + 1);
  }
  return found;
}

function resolve(root, reference) {
  if (!reference.startsWith("#")) return undefined;
  let at = root;
  for (const part of decodeURIComponent(reference.slice(1)).split("/").slice(1)) {
    if (!TYPES.object(at) && !Array.isArray(at)) return undefined;
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    if (!Object.hasOwn(at, name)) return undefined;
    at = at[name];
  }
  return at;
}

const CHECKS = {
  type: (value, kinds) => [].concat(kinds).some(kind => TYPES[kind]?.(value)),
  enum: (value, values) => values.some(each => same(each, value)),
  const: (value, wanted) => same(value, wanted),
  minimum: (value, bound) => typeof value !== "number" || value >= bound,
  maximum: (value, bound) => typeof value !== "number" || value <= bound,
  exclusiveMinimum: (value, bound) => typeof value !== "number" || value > bound,
  exclusiveMaximum: (value, bound) => typeof value !== "number" || value < bound,
  minLength: (value, bound) => typeof value !== "string" || length(value) >= bound,
  maxLength: (value, bound) => typeof value !== "string" || length(value) <= bound,
  minItems: (value, bound) => !Array.isArray(value) || value.length >= bound,
  maxItems: (value, bound) => !Array.isArray(value) || value.length <= bound,
  minProperties: (value, bound) => !TYPES.object(value) || Object.keys(value).length >= bound,
  maxProperties: (value, bound) => !TYPES.object(value) || Object.keys(value).length <= bound,
  required: (value, names) => !TYPES.object(value) || names.every(name => Object.hasOwn(value, name)),
  uniqueItems: (value, on) => !on || !Array.isArray(value) || new Set(value.map(each => JSON.stringify(each))).size === value.length,
};

// The places where the value breaks the schema, as `{path, keyword}`.
export function validate(schema, value, root = schema, path = "", depth = 0) {
  if (schema === true || depth > MAX_DEPTH) return [];
  if (schema === false) return [{ path: path || "/", keyword: "false" }];
  if (!TYPES.object(schema)) return [];
  const deeper = (part, each, at = path) => validate(part, each, root, at, depth + 1);
  const problems = Object.entries(schema)
    .filter(([name, rule]) => Object.hasOwn(CHECKS, name) && !CHECKS[name](value, rule))
    .map(([keyword]) => ({ path: path || "/", keyword }));
  if (typeof schema.$ref === "string") {
    const target = resolve(root, schema.$ref);
    if (target !== undefined) problems.push(...deeper(target, value));
  }
  for (const part of schema.allOf ?? []) problems.push(...deeper(part, value));
  for (const [name, fits] of [["anyOf", n => n > 0], ["oneOf", n => n === 1]])
    if (schema[name] && !fits(schema[name].filter(part => !deeper(part, value).length).length))
      problems.push({ path: path || "/", keyword: name });
  if (schema.not !== undefined && !deeper(schema.not, value).length) problems.push({ path: path || "/", keyword: "not" });
  if (TYPES.object(value)) problems.push(...properties(schema, value, path, deeper));
  if (Array.isArray(value)) {
    const tuple = schema.prefixItems ?? (Array.isArray(schema.items) ? schema.items : []);
    const rest = Array.isArray(schema.items) ? schema.additionalItems : schema.items;
    value.forEach((each, n) => problems.push(...deeper(tuple[n] ?? (n < tuple.length ? true : rest ?? true), each, `${path}/${n}`)));
  }
  return problems;
}

function properties(schema, value, path, deeper) {
  const problems = [];
  const known = schema.properties ?? {};
  for (const [name, each] of Object.entries(value)) {
    const at = `${path}/${name}`;
    if (Object.hasOwn(known, name)) problems.push(...deeper(known[name], each, at));
    else if (schema.additionalProperties !== undefined && !schema.patternProperties)
      problems.push(...(schema.additionalProperties === false ? [{ path: at, keyword: "additionalProperties" }] : deeper(schema.additionalProperties, each, at)));
  }
  return problems;
}
