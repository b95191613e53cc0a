#!/usr/bin/env bash
# The page: an operator adds, sees, limits, changes and revokes clients in a browser. Eve gets the login, and no further.
. "$(dirname "$0")/../../../shared/lab/lab.sh"

PAGE=https://$SERVER4:8443
STOCK=$(cd ../../../.cache/wireguard-go && pwd) # setup.sh has built it
export BROWSER=$LAB/browser.sock

# browser COMMAND...: what bob does in his browser, shown. Secrets are typed by 'secretly'.
browser() { run bob bin/browser "$@"; }
secretly() { # secretly SELECTOR WHAT TEXT
	_echo bob "bin/browser type '$1' $2"
	on bob bin/browser type "$1" "$3"
}
reads() { on bob bin/browser text "$1" | grep -q -- "$2"; }
knock() { run cafe curl -ksS --max-time 20 "$@"; }
# answers STATUS ARG...: succeeds if eve gets this status.
answers() { [ "$(on cafe curl -ks --max-time 20 -o /dev/null -w '%{http_code}' "${@:2}")" = "$1" ]; }
# code: one that was not used yet. The page takes each once, and after its start none of up to then.
code() { oathtool --totp --base32 --now "$(date -u -d '+30 seconds' '+%F %T UTC')" "$KEY"; }
# download BYTES: alice's phone gets a file from the web site. mbits: how fast that was, in Mbit/s.
download() { run alice curl -4sS --max-time 60 -o /dev/null -w '%{speed_download} bytes per second\n' "http://$WEB4/file?bytes=$1" | tee "$LAB/speed.txt"; }
mbits() { awk '/per second$/ { printf "%d\n", 8 * $1 / 1e6 }' "$LAB/speed.txt"; }
seen_as() { [ "$(on alice curl -4sS --max-time 5 "http://$WEB4/whoami")" = "$1" ]; }

serve_web
serve_dns web

act "Before: by the sockets" \
	"The server runs, as in step 8. All that a page needs is there already, at its two sockets; curl asks one of them." \
	"what keeps eve from asking, too?" \
	"a Unix socket can't be reached over the network, and the kernel lets nobody connect but root and the socket's group. Whoever puts a page in front of it has to be as strict."
run server bin/stepvpn init server
run server sed -i -e "s/^# dns_upstreams = .*/dns_upstreams = [\"$WEB4\"]/" -e 's/^# wireguard = .*/wireguard = true/' /etc/stepvpn/server.toml
start server server bin/stepvpn server /etc/stepvpn/server.toml
wait_for 60 "the server is up" logged server "server is up"
run server curl -sS --unix-socket /run/stepvpn/server.sock http://stepvpn/v1/clients
knock "$PAGE/" || true
check_not "nothing of that can be reached from the cafe" on cafe curl -ks --max-time 5 "$PAGE/"

act "The page is set up" \
	"The set-up makes a password and a key for one-time codes. Usually the page listens on the server's loopback address only. Here it listens on the public one, so that eve can try." \
	"which default password do products of this kind have?" \
	"admin, often enough. This one has none: the password is random, and shown once."
on server bin/stepvpn-web init -server "$SERVER4" >"$LAB/init.txt"
_echo server "bin/stepvpn-web init -server $SERVER4"
PASSWORD=$(sed -n '/^the password/{n;s/ *//;p}' "$LAB/init.txt")
KEY=$(sed -n 's/.*or the key \([A-Z2-7]*\)$/\1/p' "$LAB/init.txt")
sed -e '/[█▀▄]/d' -e "s/$PASSWORD/${PASSWORD:0:5}.../" -e "s/$KEY/${KEY:0:4}... (and the QR code)/" "$LAB/init.txt" | grep -v $'\e' | show
run server sed -i "s/^listen = .*/listen = [\"$SERVER4:8443\"]/" /etc/stepvpn/web.toml
start page server bin/stepvpn-web serve
wait_for 60 "the page is served" logged page "the page is served"

act "Eve knocks" \
	"Eve finds the page. She asks for what is behind the login, guesses passwords, lets another name lead to the address, and sends a form as another site's page would have it sent." \
	"what does she get?" \
	"the login, and after a few guesses only the advice to wait. Under another name the page does not answer at all."
knock -o /dev/null -w '%{http_code} %{redirect_url}\n' "$PAGE/"
knock -o /dev/null -w '%{http_code} %{redirect_url}\n' "$PAGE/clients/phone"
for guess in admin stepvpn 123456; do
	knock -o /dev/null -w '%{http_code}\n' -d "password=$guess&code=000000" "$PAGE/login"
done
knock -o /dev/null -w '%{http_code}\n' -H 'Host: evil.example' "$PAGE/login"
check "without a session there is only the login" answers 303 "$PAGE/audit"
check "and no change" answers 401 -d name=eve "$PAGE/add"
# slowed: succeeds when a guess is refused unheard. (Each one more makes the wait longer.)
slowed() {
	for _ in {1..20}; do ! answers 429 -d "password=letmein&code=000000" "$PAGE/login" || return 0; done
	return 1
}
check "guessing is slowed down" slowed
check "another name is refused (DNS rebinding)" answers 421 -H 'Host: evil.example' "$PAGE/login"
check_not "no client was added" grep -q eve /etc/stepvpn/clients

act "Bob comes in, and adds a phone" \
	"Bob is the operator. He opens the page in Chromium, types the password and a code of his authenticator app, and adds alice's phone: he gets a QR code." \
	"bob closes the page by mistake. How does he get the phone's file again?" \
	"not at all. It has the phone's private key, and no copy is kept. He revokes the client and adds another one."
start browser bob bin/browser serve
wait_for 60 "the browser is ready" logged browser "the browser is ready"
browser open "$PAGE/"
secretly '#password' '(the password)' "$PASSWORD"
secretly '#code' '(the code)' "$(code)"
browser submit
browser text .facts
check "bob is in" reads h1 Overview
COOKIE=$(on bob bin/browser cookie)
browser open "$PAGE/add"
browser type '#name' phone
browser submit
browser text main
browser picture "$LAB/phone.png"
zbarimg -q --raw "$LAB/phone.png" >"$LAB/phone.conf" 2>/dev/null || true
sed -E 's/^((Private|Preshared)Key = ....).*/\1.../' "$LAB/phone.conf" | show
check "another program reads the file from the QR code on the screen" grep -q '^PrivateKey = ' "$LAB/phone.conf"
browser open "$PAGE/clients/phone"
check_not "the page does not show it a second time" reads main PrivateKey

act "The phone connects" \
	"Bob looks at the overview, and leaves it alone. Alice's phone has scanned the code. Its app speaks the WireGuard protocol; the protocol's own programs stand for it here." \
	"does bob have to load the page again?" \
	"no: the server tells an open page each second how things are (server-sent events)."
browser open "$PAGE/"
check_not "the phone is not there yet" on bob bin/browser text 'tr.here[data-client=phone]'
ln -s "$STOCK/wireguard" "$LAB/wireguard-go"
start phone alice "$LAB/wireguard-go" -f phone
wait_for 60 "the phone has a device" on alice ip link show dev phone
sed -E '/^(Address|DNS|MTU)/d' "$LAB/phone.conf" >"$LAB/phone.wg"
run alice wg setconf phone "$LAB/phone.wg"
run alice ip address add dev phone "$(sed -n 's/^Address = \([^,]*\).*/\1/p' "$LAB/phone.conf")"
run alice ip link set dev phone mtu 1420 up
run alice ip route add "$WEB4" dev phone
check "alice's traffic leaves by the server" seen_as "$SERVER4"
browser wait 'tr.here[data-client=phone]'
browser text 'tr.here[data-client=phone]'
check "bob sees her" reads 'tr.here[data-client=phone]' "$ALICE4"

act "What eve still can't do" \
	"Bob is logged in. Eve makes a page of her own that sends a form to bob's, and he opens it: his browser would send it in his name. Here curl sends what the browser would, with bob's cookie." \
	"bob's cookie is right. Why is the form refused?" \
	"the browser says which site a request comes from (Sec-Fetch-Site, Origin), and that is not the page's own. Besides, the cookie is SameSite=Strict: a browser would not even have sent it."
check "(with bob's cookie and no other site, the page answers)" answers 200 -H "Cookie: $COOKIE" "$PAGE/"
run cafe curl -ksS -o /dev/null -w '%{http_code}\n' -H 'Cookie: (of bob)' -H 'Sec-Fetch-Site: cross-site' -d x=y "$PAGE/clients/phone/revoke"
check "another site's form is refused, cookie or not" answers 403 -H "Cookie: $COOKIE" -H 'Sec-Fetch-Site: cross-site' -d x=y "$PAGE/clients/phone/revoke"
check "also by its origin alone" answers 403 -H "Cookie: $COOKIE" -H 'Origin: https://evil.example' -d x=y "$PAGE/clients/phone/revoke"
check "the phone is still in" seen_as "$SERVER4"

act "Limited" \
	"Alice's phone gets a file from the web site, as fast as it can. Then bob gives the phone 8 Mbit/s, and a quota for each month." \
	"the phone is connected. When does it learn about the limit?" \
	"it is not told. The server acts upon the new limit within a second, and the session goes on. What the page shows as used is counted by the server, both ways together."
download 20000000
check "it has more than 8 Mbit/s" [ "$(mbits)" -gt 8 ]
browser open "$PAGE/clients/phone"
browser type '#down' 8M
browser submit
browser text .error
check "what is not clear is refused, in a sentence" reads .error 'Down: it is "8M", which is not clear'
browser type '#down' 8Mbit/s
browser type '#quota' 1GB/month
browser submit
browser text .said
browser text '#limits'
download 2000000
check "now it has no more than 8 Mbit/s" [ "$(mbits)" -le 8 ]
browser open "$PAGE/clients/phone"
browser text '[data-is=used]'
check "and what it has used counts" reads '[data-is=used]' 'MB of 1.0 GB'

act "Limited in time, and revoked" \
	"Bob says until when the phone may come in, and gives it another name. Then he revokes it." \
	"what does the audit log say: who was it?" \
	"the user that the page runs as; here root, as a service stepvpn-web. It is the kernel that says so, not the page."
browser type '#expires' 30d
browser submit
browser text .said
browser type '#name' alice-phone
browser submit
check "it has another name, and has noticed nothing" seen_as "$SERVER4"
browser wait '#usage canvas'
browser follow a.danger
browser follow 'main form button'
wait_for 60 "it is cut off" logged server "a client is cut off"
show_log server "cut off"
check_not "alice gets nothing any more" seen_as "$SERVER4"
browser open "$PAGE/audit"
browser text tbody
check "it stands in the audit log" reads tbody revoked
check "the limit does, too" reads tbody 'down=8Mbit/s quota=1GB/month'
browser follow 'header form button'
check "bob is out" reads h1 'Log in'
check "and what was his cookie is worth nothing" answers 303 -H "Cookie: $COOKIE" "$PAGE/"
stop browser
stop phone
stop page
stop server
finish
