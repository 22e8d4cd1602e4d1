// Calls of the public REST face by our own scripts. The cookie counts there only beside the header that is set here.

/** The answer as an object. Throws an Error whose message is the server's sentence, and whose code is the status'. */
export async function call(method, path, body, options = {}) {
  const headers = { "X-Lehr-Page": "1" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      signal: options.signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer; it may be restarting.");
  }
  let answer;
  try {
    answer = await response.json();
  } catch {
    throw new Error(`The server answered ${response.status} without a reason.`);
  }
  const status = answer.status || {};
  if (status.code !== 10000 && status.code !== 10010) {
    if (options.partial && answer[options.partial]) return answer;
    const sentence = status.details || status.description || `The server answered ${response.status}.`;
    throw Object.assign(new Error(sentence), { code: status.code });
  }
  return answer;
}

/** The path of a call on something under an app. */
export function underApp(app, ...parts) {
  return `/v2${pageUnder(app, ...parts)}`;
}

/** The path of a page on something under an app. */
export function pageUnder(app, ...parts) {
  return `/${["users", app.user_id, "apps", app.app_id, ...parts].map(encodeURIComponent).join("/")}`;
}

/** The address of an input's picture: the small one where there is one. */
export function pictureOf(input, size = "small") {
  const data = input.data || {};
  const medium = data.image || data.video || {};
  const hosted = medium.hosted;
  if (!hosted || !hosted.prefix) return "";
  const sizes = hosted.sizes || [];
  const chosen = sizes.includes(size) ? size : "orig";
  if (data.video && chosen === "orig") return "";
  return `${new URL(hosted.prefix).pathname}/${chosen}/${hosted.suffix}`;
}

/** An element with classes, attributes and children; text is only ever text. */
export function make(tag, classes = "", attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A file's bytes in base 64. */
export async function base64(blob) {
  const url = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The file cannot be read."));
    reader.readAsDataURL(blob);
  });
  return url.slice(url.indexOf(",") + 1);
}
