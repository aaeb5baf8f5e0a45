/** Which addresses become links: what a result names is not trusted. */

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/**
 * The address if it is one to open, else null: https anywhere, http on this machine only.
 *
 * @param {unknown} url
 * @returns {string | null}
 */
export function safe(url) {
  if (typeof url !== "string" || !URL.canParse(url)) return null;
  const { protocol, hostname, href } = new URL(url);
  return protocol === "https:" || (protocol === "http:" && LOOPBACK.test(hostname)) ? href : null;
}

/**
 * A name for the file, from the first words of the prompt.
 *
 * @param {string | undefined} prompt
 * @param {string} ending without the dot
 */
export function fileName(prompt, ending) {
  const words = (prompt ?? "").normalize("NFKC").match(/[\p{L}\p{N}]+/gu) ?? [];
  return `${words.slice(0, 6).join("-").slice(0, 60) || "luma-video"}.${ending}`;
}
