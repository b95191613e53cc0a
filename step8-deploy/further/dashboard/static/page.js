// Numbers as they change, and graphs. Without this script the pages work, too: they show the numbers of
// the moment at which they were loaded.
"use strict"
{
	const root = document.documentElement
	root.classList.add("js")
	const byId = id => document.getElementById(id)
	const colour = name => getComputedStyle(root).getPropertyValue(name).trim()

	const scaled = (n, unit) => {
		let i = 0
		for (; n >= 999.5 && i < 5; i++) n /= 1000
		return (i === 0 || n >= 99.5 ? n.toFixed(0) : n.toFixed(1)) + " " + ["", "k", "M", "G", "T", "P"][i] + unit
	}
	const rate = bytesPerSecond => bytesPerSecond == null ? "–" : scaled(8 * bytesPerSecond, "bit/s")

	const time = (at, step) => {
		const date = new Date(1000 * at)
		if (step >= 86400) return date.toLocaleDateString(undefined, { day: "numeric", month: "short" })
		return date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: step < 60 ? "2-digit" : undefined, hour12: false })
	}

	// graph draws times, and the bytes per second that were sent and received.
	const graph = (figure, data) => {
		const width = () => Math.max(280, figure.clientWidth - 16)
		const axis = () => ({ stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } })
		const line = (label, name) => ({ label, stroke: colour(name), width: 2, points: { show: false }, value: (_, v) => rate(v) })
		const make = data => new uPlot({
			width: width(), height: 220,
			scales: { y: { range: (_, min, max) => [0, Math.max(max * 1.1, 1000)] } },
			axes: [{ ...axis(), space: 70, incrs: [1, 5, 15, 30, 60, 300, 900, 3600, 10800, 21600, 43200, 86400, 432000],
				values: (_, list, __, ___, step) => list.map(at => time(at, step)) }, { ...axis(), size: 90, values: (_, list) => list.map(rate) }],
			series: [{ value: (_, v) => v == null ? "–" : new Date(1000 * v).toLocaleString() }, line("to clients", "--out"), line("from clients", "--in")],
		}, data, figure)
		let plot = make(data)
		const again = () => {
			const data = plot.data
			plot.destroy()
			plot = make(data)
		}
		addEventListener("resize", () => plot.setSize({ width: width(), height: 220 }))
		matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again)
		return data => plot.setData(data)
	}

	// set changes a text, and leaves alone what is the same: a screen reader would read it again.
	const set = (node, text) => { if (node && node.textContent !== text) node.textContent = text }

	const places = new Map()
	for (const node of document.querySelectorAll("[data-client]")) if (node.id !== "usage") places.set(node.dataset.client, node)
	const fill = (place, peer) => {
		const here = name => place.querySelector(`[data-is="${name}"]`)
		if (place.tagName === "TR") place.classList.toggle("here", !!peer)
		if (!peer) {
			if (place.dataset.was) {
				set(here("endpoint"), "no longer connected")
				set(here("rate-sent"), "")
				set(here("rate-received"), "")
			}
			return
		}
		place.dataset.was = "here"
		set(here("addresses"), peer.addresses)
		set(here("endpoint"), peer.endpoint)
		set(here("sent"), peer.sent)
		set(here("received"), peer.received)
		set(here("used"), peer.used)
		set(here("rate-sent"), peer.rates[0])
		set(here("rate-received"), peer.rates[1])
	}

	const kept = 300 // seconds that the overview's graph shows
	const page = document.body.dataset.page
	if (page === "overview" || page === "client") {
		const data = [[], [], []]
		let draw
		const stream = new EventSource("/live")
		let told = false
		stream.onmessage = message => {
			told = true
			const now = JSON.parse(message.data)
			const peers = new Map(now.peers.map(p => [p.name, p]))
			for (const [name, place] of places) fill(place, peers.get(name))
			root.dataset.live = now.time // for tests
			if (page !== "overview") return
			set(byId("state"), now.state)
			byId("state").className = "state " + now.state
			set(byId("connected"), String(now.connected))
			set(byId("sent"), rate(now.sent))
			set(byId("received"), rate(now.received))
			set(byId("reason"), now.reason)
			byId("reason").hidden = !now.reason
			const row = [now.time, now.sent, now.received]
			row.forEach((value, i) => {
				data[i].push(value)
				if (data[i].length > kept) data[i].shift()
			})
			if (draw) draw(data)
			else if (data[0].length > 1) draw = graph(byId("graph"), data)
		}
		// It may be that the session has ended: then the server sends this page to the login. Where no message came
		// at all, too many pages follow the numbers, and loading this one again would not help.
		stream.onerror = () => {
			if (told && stream.readyState === EventSource.CLOSED) location.reload()
		}
		addEventListener("pagehide", () => stream.close())
	}

	const usage = byId("usage")
	if (usage) {
		let draw
		const buttons = document.querySelectorAll("[data-span]")
		const load = async span => {
			for (const b of buttons) b.setAttribute("aria-pressed", String(b.dataset.span === span))
			const answer = await fetch(`/clients/${encodeURIComponent(usage.dataset.client)}/usage?span=${span}`)
			if (answer.status === 401) return location.reload()
			if (!answer.ok) return
			const data = await answer.json()
			if (draw) draw(data)
			else draw = graph(usage, data)
		}
		for (const b of buttons) b.addEventListener("click", () => load(b.dataset.span))
		load("hour")
	}
}
