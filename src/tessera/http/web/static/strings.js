// What the playground and the usage page say, in both languages.

const EN = {
  playground: "Playground", docs: "Documentation", key: "API key", key_hint: "Only kept in memory, unless you choose otherwise.", remember: "Keep until this tab is closed",
  model: "Model", connect: "Load models", no_key: "Enter an API key first. The server prints one when it starts.",
  system: "System message", mode: "Mode", direct: "Direct", thinking: "Thinking", budget: "Thinking budget, in tokens",
  sampling: "Sampling", unset: "model's own", tools: "Tools", tools_label: "Functions, as a JSON array", tool_choice: "tool_choice",
  parallel: "Several calls at once", format: "Structured output", format_label: "response_format", schema: "JSON Schema",
  schema_name: "Name", strict: "strict", example: "Example", choose: "Choose…", stream: "Stream", max_tokens: "Most tokens of the reply",
  stop_label: "Stop strings, one a line", logprobs: "Log probabilities", top_logprobs: "Alternatives for each token",
  settings: "Settings", conversation: "Conversation", your_message: "Your message", send: "Send", stop: "Stop",
  clear: "New conversation", retry: "Try again", edit: "Edit", remove: "Remove", save: "Save and send", cancel: "Cancel",
  export: "Export", import: "Import", import_bad: "This file is not a conversation of the playground.",
  versus: "Compare with", nothing: "nothing", n: "Replies (n)", script: "Script for results, in JavaScript", run_script: "Run the script", script_late: "The script did not end within {s} seconds.",
  script_hint: "The body of a function of `name` and `args`. It runs in this browser, without network, when you press the button below a call.",
  branches: "Branches", branch_before: "Previous branch", branch_after: "Next branch", continue: "Continue with this one",
  user: "You", assistant: "Assistant", tool: "Tool result", reasoning: "Reasoning", call: "Call of", arguments: "Arguments",
  result: "Result of the call", send_results: "Send the results", wire: "Wire view", request: "Request", events: "Events",
  headers: "Headers", code: "Code", copy: "Copy", copied: "Copied", nothing_yet: "Nothing sent yet.",
  waiting: "Waiting for the first token…", writing: "Replying…", done: "The reply is complete.", stopped: "Stopped. What came is kept.",
  first: "first token", total: "in all", prompt: "prompt", cached: "cached", reply_tokens: "reply", all_replies: "all replies", thought: "reasoning",
  context: "of the context", valid: "Valid: keeps to the schema", invalid: "Does not keep to the schema", not_json: "Not JSON",
  cut: "cut off", treatment: "What each keyword will get", enforced: "enforced: no token can break it",
  relaxed: "relaxed: checked at the end", refused: "refused, because of strict", annotation: "annotation: restricts nothing",
  unknown: "unknown: ignored", mend: "This is not valid", language: "Español", at: "at", ms: "ms", only_last: "The last {n} of {all} events.",
  download: "Download all events", probability: "Probability", token: "Token", alternatives: "Alternatives", token_chosen: "chosen",
  token_hint: "Point at a token, or move with the arrow keys, to see what else it could have been.", tokens_cut: "The first {n} of {all} tokens.",
  empty: "Write a message, or start from an example:", ex_chat: "A question", ex_tool: "A tool call", ex_schema: "An order as JSON", ex_think: "Thinking with a budget",
  e401: "The key is not valid, has expired or was revoked. Enter another one.", e403: "This key may not do that. Choose another model, or ask whoever runs the server.",
  e404: "The server does not know this model. Load the models again and choose one.", e413: "The conversation is too long for the model. Start a new one, or remove messages.",
  e400: "The server refuses the request. The message says what to change.", e422: "The reply could not keep to the schema. Simplify the schema.",
  e429: "A limit of the account is reached.", e429_wait: "Try again in {s} seconds.", e5xx: "The model cannot answer now. Wait a few seconds and try again; if it stays so, tell whoever runs the server.",
  elost: "The connection was lost. What came is kept: check that the server is running, and try again.",
  usage: "Usage", show: "Show", since: "From", until: "To", by: "By", day: "day", requests: "requests", failed: "failed",
  prompt_tokens: "prompt tokens", cached_tokens: "cached tokens", completion_tokens: "reply tokens", reasoning_tokens: "reasoning tokens",
  totals: "Total", utc: "Days are in UTC.", limits: "Limits of requests", limit: "a minute", left: "left", reset: "seconds until all are there again",
  chart: "Reply tokens", no_usage: "No usage in this time.", csv: "Download as CSV",
  console: "Console", admin_key: "Admin key", sign_in: "Sign in", sign_out: "Sign out", admin_hint: "The key is that of TESSERA_ADMIN_KEY. It is only kept in memory.",
  admin_401: "This is not the admin key.", live: "Live", accounts: "Accounts", keys: "Keys", audit: "Audit", running: "running requests",
  waiting_requests: "waiting requests", store: "store", up: "reachable", down: "away", longest: "Longest-running requests", errors: "Errors since the start, by code",
  account: "account", tier: "tier", state: "state", created: "created (UTC)", disabled: "disabled", active: "active", enable: "Enable", disable: "Disable", sure: "Sure?",
  create: "Create", once: "This secret is shown only now:", name: "name", last4: "ends in", created_s: "created", last_used_s: "last used", expires_s: "expires",
  expires: "expires (UTC)", models: "models, separated by commas", revoke: "Revoke", search: "search", previous: "Previous page", next: "Next page", older: "Older",
  tiers: "Tiers", tiers_set: "Tiers are set in the configuration of the server.", unlimited: "unlimited", sustained_rpm: "requests a minute", burst_rpm: "in bursts",
  context_tokens: "context, in tokens", thinking_tokens_per_day: "reasoning tokens a day", concurrency: "replies at once", priority: "priority",
  budgets: "budgets, in tokens", default_output_tokens: "tokens of a reply without a limit", of_model: "set by the model",
  client: "client", step: "step", disabled_s: "state", expired: "expired", revoked: "revoked", cancelled: "Cancelled", per_account: "Running requests by account and model", restarts: "engine restarts",
  parquet: "Download as Parquet", only_top: "The {n} with the most tokens; the files have all of them.",
  when: "when (UTC)", who: "who", what: "what", subject: "of", detail: "now",
};

const ES = {
  playground: "Playground", docs: "Documentación", key: "Clave de API", key_hint: "Solo se guarda en memoria, salvo que elijas otra cosa.", remember: "Conservarla hasta cerrar esta pestaña",
  model: "Modelo", connect: "Cargar modelos", no_key: "Escribe primero una clave de API. El servidor muestra una al arrancar.",
  system: "Mensaje de sistema", mode: "Modo", direct: "Directo", thinking: "Con razonamiento", budget: "Tope de tokens de razonamiento",
  sampling: "Muestreo", unset: "el del modelo", tools: "Herramientas", tools_label: "Funciones, como lista JSON", tool_choice: "tool_choice",
  parallel: "Varias llamadas a la vez", format: "Salida estructurada", format_label: "response_format", schema: "JSON Schema",
  schema_name: "Nombre", strict: "strict", example: "Ejemplo", choose: "Elegir…", stream: "En streaming", max_tokens: "Máximo de tokens de la respuesta",
  stop_label: "Secuencias de parada, una por línea", logprobs: "Log-probabilidades", top_logprobs: "Candidatos por token",
  settings: "Ajustes", conversation: "Conversación", your_message: "Tu mensaje", send: "Enviar", stop: "Parar",
  clear: "Conversación nueva", retry: "Reintentar", edit: "Editar", remove: "Quitar", save: "Guardar y enviar", cancel: "Cancelar",
  export: "Exportar", import: "Importar", import_bad: "Este fichero no es una conversación del playground.",
  versus: "Comparar con", nothing: "nada", n: "Respuestas (n)", script: "Script para los resultados, en JavaScript", run_script: "Ejecutar el script", script_late: "El script no ha terminado en {s} segundos.",
  script_hint: "El cuerpo de una función de `name` y `args`. Se ejecuta en este navegador, sin red, al pulsar el botón que hay bajo una llamada.",
  branches: "Ramas", branch_before: "Rama anterior", branch_after: "Rama siguiente", continue: "Seguir con esta",
  user: "Tú", assistant: "Asistente", tool: "Resultado de la herramienta", reasoning: "Razonamiento", call: "Llamada a", arguments: "Argumentos",
  result: "Resultado de la llamada", send_results: "Enviar los resultados", wire: "Lo que viaja por la red", request: "Petición", events: "Eventos",
  headers: "Cabeceras", code: "Código", copy: "Copiar", copied: "Copiado", nothing_yet: "Todavía no se ha enviado nada.",
  waiting: "Esperando el primer token…", writing: "Respondiendo…", done: "La respuesta está completa.", stopped: "Parado. Lo recibido se conserva.",
  first: "primer token", total: "en total", prompt: "prompt", cached: "en caché", reply_tokens: "respuesta", all_replies: "todas las respuestas", thought: "razonamiento",
  context: "del contexto", valid: "Válida: cumple el esquema", invalid: "No cumple el esquema", not_json: "No es JSON",
  cut: "cortada", treatment: "Cómo se trata cada palabra clave", enforced: "se impone: ningún token puede incumplirla",
  relaxed: "se relaja: se comprueba al final", refused: "se rechaza, por strict", annotation: "anotación: no restringe nada",
  unknown: "desconocida: se ignora", mend: "Esto no es válido", language: "English", at: "a los", ms: "ms", only_last: "Los últimos {n} de {all} eventos.",
  download: "Descargar todos los eventos", probability: "Probabilidad", token: "Token", alternatives: "Candidatos", token_chosen: "elegido",
  token_hint: "Señala un token, o muévete con las flechas, para ver qué otros podrían haber salido.", tokens_cut: "Los primeros {n} de {all} tokens.",
  empty: "Escribe un mensaje o empieza por un ejemplo:", ex_chat: "Una pregunta", ex_tool: "Una llamada a una herramienta", ex_schema: "Un pedido en JSON", ex_think: "Razonamiento con tope",
  e401: "La clave no es válida, ha caducado o está revocada. Escribe otra.", e403: "Esta clave no tiene permiso para eso. Elige otro modelo o habla con quien opera el servidor.",
  e404: "El servidor no conoce ese modelo. Vuelve a cargar los modelos y elige uno.", e413: "La conversación es demasiado larga para el modelo. Empieza otra o quita mensajes.",
  e400: "El servidor rechaza la petición. El mensaje dice qué hay que cambiar.", e422: "La respuesta no ha podido cumplir el esquema. Simplifícalo.",
  e429: "La cuenta ha llegado a uno de sus límites.", e429_wait: "Reintenta dentro de {s} segundos.", e5xx: "El modelo no puede responder ahora. Espera unos segundos y reintenta; si sigue igual, avisa a quien opera el servidor.",
  elost: "Se ha perdido la conexión. Lo recibido se conserva: comprueba que el servidor está en marcha y reintenta.",
  usage: "Uso", show: "Mostrar", since: "Desde", until: "Hasta", by: "Por", day: "día", requests: "peticiones", failed: "fallidas",
  prompt_tokens: "tokens del prompt", cached_tokens: "tokens en caché", completion_tokens: "tokens de respuesta", reasoning_tokens: "tokens de razonamiento",
  totals: "Total", utc: "Los días son UTC.", limits: "Límite de peticiones", limit: "por minuto", left: "quedan", reset: "segundos hasta volver a tenerlas todas",
  chart: "Tokens de respuesta", no_usage: "No hay uso en ese periodo.", csv: "Descargar en CSV",
  console: "Consola", admin_key: "Clave de administración", sign_in: "Entrar", sign_out: "Salir", admin_hint: "Es la clave de TESSERA_ADMIN_KEY. Solo se guarda en memoria.",
  admin_401: "Esa no es la clave de administración.", live: "En vivo", accounts: "Cuentas", keys: "Claves", audit: "Auditoría", running: "peticiones en curso",
  waiting_requests: "peticiones en espera", store: "almacén", up: "accesible", down: "inaccesible", longest: "Peticiones que más duran", errors: "Errores desde el arranque, por código",
  account: "cuenta", tier: "nivel", state: "estado", created: "creada (UTC)", disabled: "desactivada", active: "activa", enable: "Activar", disable: "Desactivar", sure: "¿Seguro?",
  create: "Crear", once: "Este secreto solo se muestra ahora:", name: "nombre", last4: "acaba en", created_s: "creada", last_used_s: "último uso", expires_s: "caduca",
  expires: "caducidad (UTC)", models: "modelos, separados por comas", revoke: "Revocar", search: "buscar", previous: "Página anterior", next: "Página siguiente", older: "Anteriores",
  tiers: "Niveles", tiers_set: "Los niveles se definen en la configuración del servidor.", unlimited: "sin límite", sustained_rpm: "peticiones por minuto", burst_rpm: "en ráfagas",
  context_tokens: "contexto, en tokens", thinking_tokens_per_day: "tokens de razonamiento al día", concurrency: "respuestas a la vez", priority: "prioridad",
  budgets: "presupuestos, en tokens", default_output_tokens: "tokens de una respuesta sin límite", of_model: "según el modelo",
  client: "cliente", step: "paso", disabled_s: "estado", expired: "caducada", revoked: "revocada", cancelled: "Cancelada", per_account: "Peticiones en curso por cuenta y modelo", restarts: "reinicios del motor",
  parquet: "Descargar en Parquet", only_top: "Las {n} filas con más tokens; los ficheros las tienen todas.",
  when: "cuándo (UTC)", who: "quién", what: "qué", subject: "de", detail: "ahora",
};

export const STRINGS = { en: EN, es: ES };
let language = "en";

export function setLanguage(code) {
  language = code in STRINGS ? code : "en";
  document.documentElement.lang = language;
}
export const currentLanguage = () => language;
export const otherLanguage = () => (language === "en" ? "es" : "en");

export function t(name, values = {}) {
  const text = STRINGS[language][name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, key) => String(values[key] ?? ""));
}

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language, { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);
