package main

import (
	"errors"
	"os"
	"path/filepath"

	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/registrar"
)

// This file is the socket at which a server's keeper takes changes of its clients. Its worker may not use
// it, and may not write the registry: so whoever takes over the worker lets nobody in.

// serveChanges serves the socket, if there is to be one, until the function that it returns is called.
// changed is called after each change.
func serveChanges(k *keeper.Server, changed func(control.Event)) (stop func() error, err error) {
	cfg := k.Configured()
	if cfg.ControlSocket == "" {
		return func() error { return nil }, nil
	}
	l, err := control.Socket{Path: cfg.ControlSocket, Name: control.Control, Group: cfg.ControlGroup}.Listen()
	if err != nil {
		return nil, err
	}
	var refused []int
	if worker := k.Owner().UID; worker != os.Getuid() {
		refused = []int{worker}
	}
	s := control.Serve(l, registrar.Service{
		Registrar: registrar.New(cfg, k.KeyFile()),
		Version:   release,
		Audit:     control.NewAudit(filepath.Join(cfg.State, control.AuditName)),
		Changed:   changed,
	}.Routes(), refused...)
	return func() error { return errors.Join(s.Close(), os.Remove(cfg.ControlSocket)) }, nil
}
