/** Which addresses may become links, and names for downloaded files. Results are not trusted. */

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/**
 * Returns the address if it may be opened, else null: https anywhere, http only on this machine.
 *
 * @param {unknown} url
 * @returns {string | null}
 */
export function safeUrl(url) {
  if (typeof url !== "string" || !URL.canParse(url)) return null;
  const { protocol, hostname, href } = new URL(url);
  return protocol === "https:" || (protocol === "http:" && LOOPBACK.test(hostname)) ? href : null;
}

/**
 * A file name from the first words of the prompt.
 *
 * @param {string | undefined} prompt
 * @param {string} extension without the dot
 */
export function fileName(prompt, extension) {
  const parts = (prompt ?? "").normalize("NFKC").match(/[\p{L}\p{N}]+/gu) ?? [];
  return `${parts.slice(0, 6).join("-").slice(0, 60) || "luma-video"}.${extension}`;
}
