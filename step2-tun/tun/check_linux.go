package tun

import "os"

// Check returns the error that Open would return because of the Config (see check.go), or
// because of this host: a device of that name exists, or there is no TUN driver. It changes
// nothing. It is for the command 'check' of step 8.
func Check(c Config) error {
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if err := c.check(); err != nil {
		return err
	}
	if exists(c.Name) && !c.Persist {
		return errTaken(c.Name)
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return explain(c.Name, err)
	}
	return nil
}
