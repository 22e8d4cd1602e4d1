// Pictures and videos that were dropped on a page, kept in this browser alone, so that the address that names one shows
// the same after a reload. Nothing is sent anywhere here; the oldest go when there are many.

const NAME = "lehr";
const STORE = "dropped";
const MOST = 24;
const LONGEST = 1600; // pixels; what is larger is made smaller before it is sent
const SMALL_BYTES = 3_000_000;

/** The id under which the file is found again. */
export async function keep(file) {
  const store = await opened("readwrite");
  const id = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  await done(store.put({ id, blob: file, name: file.name || "picture", when: Date.now() }));
  const all = await done(store.getAll());
  all.sort((a, b) => b.when - a.when);
  await Promise.all(all.slice(MOST).map((each) => done(store.delete(each.id))));
  return id;
}

/** The file, or null where this browser does not have it. */
export async function kept(id) {
  const store = await opened("readonly");
  const found = await done(store.get(id));
  return found ? new File([found.blob], found.name, { type: found.blob.type }) : null;
}

/** The picture as it is sent: as it is, or smaller where it is large and this browser can read it. */
export async function sendable(file) {
  if (file.size <= SMALL_BYTES) return file;
  try {
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(bitmap.width * scale);
    canvas.height = Math.round(bitmap.height * scale);
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve) => canvas.toBlob((blob) => resolve(blob || file), "image/jpeg", 0.92));
  } catch {
    return file; // a kind that the server may know all the same
  }
}

function opened(mode) {
  return new Promise((resolve, reject) => {
    const asked = indexedDB.open(NAME, 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore(STORE, { keyPath: "id" });
    asked.onerror = () => reject(new Error("This browser keeps nothing, as in a private window; the page works until it is reloaded."));
    asked.onsuccess = () => resolve(asked.result.transaction(STORE, mode).objectStore(STORE));
  });
}

function done(asked) {
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}
