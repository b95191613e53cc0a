package config

// Keep is for settings that a running client reads again. It sets those that only a restart can
// change back to their values in old, and returns the keys of those that differed.
func (c *Client) Keep(old *Client) (changed []string) {
	keep(&changed, "device", &c.Device, old.Device)
	keep(&changed, "offloads", &c.Offloads, old.Offloads)
	keep(&changed, "state", &c.State, old.State)
	keep(&changed, "status_socket", &c.StatusSocket, old.StatusSocket)
	keep(&changed, "status_group", &c.StatusGroup, old.StatusGroup)
	keep(&changed, "metrics", &c.Metrics, old.Metrics)
	return changed
}

// keep does that for one setting.
func keep[T comparable](changed *[]string, key string, value *T, old T) {
	if *value != old {
		*changed = append(*changed, key)
		*value = old
	}
}
