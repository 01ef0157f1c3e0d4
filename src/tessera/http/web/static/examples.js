// What the playground can be started with.
export const WEATHER = JSON.stringify([{
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city.",
    parameters: {
      type: "object",
      properties: { city: { type: "string", maxLength: 40 }, unit: { enum: ["celsius", "fahrenheit"] } },
      required: ["city"],
      additionalProperties: false,
    },
    strict: true,
  },
}], null, 2);

export const SEARCH = JSON.stringify([{
  type: "function",
  function: {
    name: "search_orders",
    description: "Finds the orders of a customer.",
    parameters: {
      type: "object",
      properties: {
        customer: { type: "string", maxLength: 60 },
        state: { enum: ["open", "sent", "returned"] },
        limit: { type: "integer", minimum: 1, maximum: 50 },
      },
      required: ["customer", "state"],
      additionalProperties: false,
    },
    strict: true,
  },
}], null, 2);

export const ORDER = JSON.stringify({
  type: "object",
  properties: {
    customer: { type: "string", maxLength: 40 },
    items: {
      type: "array",
      minItems: 1,
      maxItems: 5,
      items: {
        type: "object",
        properties: { product: { type: "string", maxLength: 30 }, quantity: { type: "integer", minimum: 1, maximum: 99 } },
        required: ["product", "quantity"],
        additionalProperties: false,
      },
    },
    urgent: { type: "boolean" },
  },
  required: ["customer", "items", "urgent"],
  additionalProperties: false,
}, null, 2);

export const PERSON = JSON.stringify({
  type: "object",
  properties: { name: { type: "string", maxLength: 40 }, age: { type: "integer", minimum: 0, maximum: 150 } },
  required: ["name", "age"],
  additionalProperties: false,
}, null, 2);

export const TOOLS = { get_weather: WEATHER, search_orders: SEARCH };
export const SCHEMAS = { order: ORDER, person: PERSON };

// The body of a function of `name` and `args`, run in a worker without network.
export const SCRIPT = `// What is returned is the result of the call.
if (name === "get_weather") return { city: args.city, sky: "clear", degrees: 21 };
if (name === "search_orders") return [{ id: 7, customer: args.customer, state: args.state }];
throw new Error(\`There is no function \${name}.\`);
`;

// Each changes the form and gives the first message.
export const STARTS = {
  ex_chat: { form: {}, text: { en: "What is the capital of Spain?", es: "¿Cuál es la capital de España?" } },
  ex_tool: { form: { tools: WEATHER, tool_choice: "required", parallel: false, script: SCRIPT }, text: { en: "What is the weather in León?", es: "¿Qué tiempo hace en León?" } },
  ex_schema: { form: { format: "json_schema", schema: ORDER, schema_name: "order", max_tokens: "400" }, text: { en: "Ana wants two lamps and a rug, by tomorrow.", es: "Ana quiere dos lámparas y una alfombra para mañana." } },
  ex_think: { form: { mode: "thinking", budget: "200" }, text: { en: "What is seventeen times three?", es: "¿Cuánto es diecisiete por tres?" } },
};
