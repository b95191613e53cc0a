package config

// ParseServer returns the settings for which a text stands as the content of a file, as LoadServer
// does, without that file. So it can't check who may change the file.
func ParseServer(file string, text []byte) (*Server, error) {
	text, err := unmarked(file, text)
	if err != nil {
		return nil, err
	}
	d := parse(file, text)
	if len(d.problems) == 0 || d.values != nil {
		d.checkKind(KindServer)
	}
	if err := d.failed(); err != nil {
		return nil, err
	}
	return server(d)
}

// ParseClient is ParseServer for a client. It does not read the file that the setting wireguard
// names.
func ParseClient(file string, text []byte) (*Client, error) {
	text, err := unmarked(file, text)
	if err != nil {
		return nil, err
	}
	d := parse(file, text)
	if len(d.problems) == 0 || d.values != nil {
		d.checkKind(KindClient)
	}
	if err := d.failed(); err != nil {
		return nil, err
	}
	return client(d, 0o600)
}
