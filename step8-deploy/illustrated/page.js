"use strict"
document.documentElement.classList.add("js")

// The values of the page by name: nn.h0 and so on, as arrays of bytes.
const fromHex = s => Uint8Array.from(s.match(/../g) ?? [], pair => parseInt(pair, 16))
const toHex = bytes => Array.from(bytes, b => b.toString(16).padStart(2, "0")).join("")
for (const [name, hex] of Object.entries(JSON.parse(document.getElementById("values").textContent))) {
	const [group, key] = name.split(".")
	window[group] ??= {}
	// A snippet gets a copy each time, so that it may change it.
	Object.defineProperty(window[group], key, { get: () => fromHex(hex), enumerable: true })
}

// What the snippets call. Their text stands at the end of the page.
const helpers = {
	ascii(text) {
		return new TextEncoder().encode(text)
	},
	cat(...parts) {
		return Uint8Array.from(parts.flatMap(part => Array.from(part)))
	},
	pad(bytes, length) {
		return cat(bytes, new Uint8Array(length - bytes.length))
	},
	async sha256(bytes) {
		return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))
	},
	// HKDF (RFC 5869), with the chaining key as the salt: n keys of 32 bytes.
	async hkdf(ck, secret, n) {
		const key = await crypto.subtle.importKey("raw", cat(secret), "HKDF", false, ["deriveBits"])
		const bits = await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt: ck, info: new Uint8Array() }, key, n * 256)
		return Array.from({ length: n }, (_, i) => new Uint8Array(bits, 32 * i, 32))
	},
	// X25519 (RFC 7748). The bytes in front say to the browser that this is such a private key.
	async x25519(privateKey, publicKey) {
		const pkcs8 = cat([0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20], privateKey)
		const mine = await crypto.subtle.importKey("pkcs8", pkcs8, "X25519", false, ["deriveBits"])
		const theirs = await crypto.subtle.importKey("raw", publicKey, "X25519", false, [])
		return new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: theirs }, mine, 256))
	},
	// AES-256-GCM. The nonce is 4 zero bytes and the counter.
	async seal(key, counter, associated, plaintext) {
		const aes = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["encrypt"])
		const nonce = cat(new Uint8Array(11), [counter])
		return new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce, additionalData: associated }, aes, plaintext))
	},
	async open(key, counter, associated, sealed) {
		const aes = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["decrypt"])
		const nonce = cat(new Uint8Array(11), [counter])
		return new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv: nonce, additionalData: associated }, aes, sealed))
	},
	// The checksum of IP, UDP and ICMP (RFC 1071).
	checksum(bytes) {
		let sum = 0
		for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] << 8) | (bytes[i + 1] ?? 0)
		while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
		return [(~sum >>> 8) & 0xff, ~sum & 0xff]
	},
	// BLAKE2s (RFC 7693), which browsers don't have: a hash of some length, with a key or without.
	blake2s(bytes, length, key = new Uint8Array()) {
		const iv = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19]
		const order = ["0123456789abcdef", "ea489fd61c02b753", "b8c052fdae367194", "7931dcbe265a40f8", "905724afe1bc683d",
			"2c6a0b834d75fe19", "c51fed4a0763928b", "db7ec13950f4862a", "6fe9b308c2d714a5", "a2847615fb9e3cd0"]
		const rotate = (x, n) => (x >>> n) | (x << (32 - n))
		const h = iv.slice()
		h[0] ^= 0x01010000 ^ (key.length << 8) ^ length
		const input = key.length ? cat(pad(key, 64), bytes) : bytes
		const blocks = Math.max(1, Math.ceil(input.length / 64))
		for (let block = 0; block < blocks; block++) {
			const end = Math.min(64 * (block + 1), input.length)
			const m = new Uint32Array(pad(input.slice(64 * block, end), 64).buffer)
			const v = h.concat(iv)
			v[12] ^= end
			if (block === blocks - 1) v[14] = ~v[14]
			const mix = (a, b, c, d, x, y) => {
				v[a] = (v[a] + v[b] + x) | 0; v[d] = rotate(v[d] ^ v[a], 16); v[c] = (v[c] + v[d]) | 0; v[b] = rotate(v[b] ^ v[c], 12)
				v[a] = (v[a] + v[b] + y) | 0; v[d] = rotate(v[d] ^ v[a], 8); v[c] = (v[c] + v[d]) | 0; v[b] = rotate(v[b] ^ v[c], 7)
			}
			for (const o of order) {
				const s = i => m[parseInt(o[i], 16)]
				mix(0, 4, 8, 12, s(0), s(1)); mix(1, 5, 9, 13, s(2), s(3)); mix(2, 6, 10, 14, s(4), s(5)); mix(3, 7, 11, 15, s(6), s(7))
				mix(0, 5, 10, 15, s(8), s(9)); mix(1, 6, 11, 12, s(10), s(11)); mix(2, 7, 8, 13, s(12), s(13)); mix(3, 4, 9, 14, s(14), s(15))
			}
			for (let i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8]
		}
		return new Uint8Array(Uint32Array.from(h).buffer).slice(0, length)
	},
	basepoint: Uint8Array.from({ length: 32 }, (_, i) => (i === 0 ? 9 : 0)),
}
// They call each other, too. window.open is taken, so the snippets get the functions as parameters.
for (const name of Object.keys(helpers)) if (name !== "open") window[name] = helpers[name]
document.getElementById("helpers-code").textContent = Object.entries(helpers)
	.map(([name, f]) => (typeof f === "function" ? f.toString().replace(/^\t/gm, "") : `${name}: 9, and 31 zeros`)).join("\n\n")

const AsyncFunction = (async () => {}).constructor
const calculate = code => new AsyncFunction(...Object.keys(helpers), code)(...Object.values(helpers))

// check runs a snippet, and says whether its result is the value that the page shows.
async function check(run) {
	const value = run.closest(".value"), output = run.querySelector("output")
	const want = value.dataset.hex ?? value.querySelector(".hex").textContent
	let got, error
	try {
		got = toHex(await calculate(run.querySelector("pre").textContent))
	} catch (e) {
		error = crypto.subtle ? `${e.name}: ${e.message || "it does not authenticate, or this browser can't calculate it"}` : "this browser calculates only in a page of https, or in a file"
	}
	const agrees = got === want
	output.className = agrees ? "agrees" : "differs"
	output.textContent = agrees ? "✓ the same as on this page" : error ?? `another value: ${got}`
	value.classList.toggle("wrong", !agrees)
	return agrees
}
document.addEventListener("click", e => {
	const run = e.target.matches(".run button") && e.target.closest(".run")
	if (run) check(run)
})

async function checkAll() {
	const output = document.getElementById("checked")
	const runs = [...document.querySelectorAll(".run")]
	let right = 0
	const wrong = []
	for (const run of runs) {
		if (await check(run)) right++
		else wrong.push(run.closest(".value").dataset.name ?? run.closest(".note").id)
	}
	output.className = wrong.length ? "differs" : "agrees"
	output.textContent = wrong.length ? `${wrong.length} of ${runs.length} values differ: ${wrong.join(", ")}` : `✓ Your browser has calculated all ${right} values, and they are the same.`
	document.documentElement.dataset.checked = right
	document.documentElement.dataset.wrong = wrong.join(" ")
}
document.getElementById("check-all").addEventListener("click", checkAll)
if (location.hash === "#check") checkAll()

// The bytes. A field is chosen by a mouse over it, a touch, or the keyboard.
function choose(field, active = true) {
	const frame = field.closest(".frame")
	for (const on of frame.querySelectorAll(".on")) on.classList.remove("on")
	field.classList.add("on")
	document.getElementById(field.dataset.note).classList.add("on")
	if (active) {
		for (const other of document.querySelectorAll(".frame.active")) if (other !== frame) other.classList.remove("active")
		frame.classList.add("active")
	}
}
const visible = frame => [...frame.querySelectorAll(".field")].filter(f => f.firstChild.offsetParent !== null)
for (const frame of document.querySelectorAll(".frame")) {
	const bytes = frame.querySelector(".bytes"), notes = frame.querySelector(".notes")
	let pinned = false // after a click or with the keyboard the mouse may cross other bytes on its way to the explanation
	const on = (event, act) => bytes.addEventListener(event, e => {
		const field = e.target.closest(".field")
		if (field) act(field)
	})
	on("mouseover", field => { if (!pinned) choose(field) })
	on("focusin", field => { pinned = true; choose(field) })
	on("click", field => {
		pinned = true
		choose(field)
		// On a phone the explanation must not hide what was touched.
		const touched = field.firstChild.getBoundingClientRect()
		if (getComputedStyle(notes).position === "fixed" && touched.bottom > notes.getBoundingClientRect().top) field.firstChild.scrollIntoView({ block: "center" })
	})
	bytes.addEventListener("mouseleave", e => { if (!e.relatedTarget?.closest?.(".notes")) pinned = false })
	notes.addEventListener("click", e => { if (e.target.matches(".close")) frame.classList.remove("active") })
	bytes.addEventListener("keydown", e => {
		const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key]
		if (!step) return
		const fields = visible(frame)
		const next = fields[fields.indexOf(e.target.closest(".field")) + step]
		if (next) next.firstChild.focus()
		e.preventDefault()
	})
	for (const button of frame.querySelectorAll(".switch button")) button.addEventListener("click", () => {
		frame.classList.toggle("decrypted", button.dataset.view === "inside")
		for (const b of frame.querySelectorAll(".switch button")) b.setAttribute("aria-pressed", b === button)
		choose(frame.querySelector(button.dataset.view === "inside" ? ".bytes .inside .field" : ".bytes .eve .field"))
	})
	choose(visible(frame)[0], false)
	// On a phone the explanation goes when its frame is out of sight.
	new IntersectionObserver(([seen]) => { if (!seen.isIntersecting) frame.classList.remove("active") }).observe(frame)
}
