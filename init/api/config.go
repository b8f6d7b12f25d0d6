package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/durable"
	"github.com/keelson-os/keelson/machine"
)

// NextConfig is the folder, beside that of the configuration in force, in which the next one waits for PID 1: complete, secrets
// included. PID 1 takes it at its next boot and goes back to the old one if the node does not get healthy with it.
const NextConfig = "config.next"

func (s *Server) getConfig(w http.ResponseWriter, _ *http.Request, _ caller) error {
	_, hidden, _, err := s.hiddenConfig()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Write(hidden)
	return nil
}

// hiddenConfig reads the configuration in force; see hide.
func (s *Server) hiddenConfig() (data, hidden []byte, secrets map[string]string, err error) {
	data, err = readMax(filepath.Join(s.Places.Config, config.FileName), configMax)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("configuration: %w", err)
	}
	hidden, secrets, err = hide(data, []byte(s.Config.Secrets.MachineCA.Key))
	return data, hidden, secrets, err
}

func (s *Server) putConfig(w http.ResponseWriter, r *http.Request, by caller) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if !s.changing.TryLock() {
		return refuse(http.StatusConflict, "the configuration is being changed by somebody else")
	}
	defer s.changing.Unlock()
	if err := s.settled(r.Context()); err != nil {
		return err
	}
	old, _, secrets, err := s.hiddenConfig()
	if err != nil && !errors.Is(err, errUnhidden) {
		return err
	}
	data, unknown := reveal(data, secrets)
	if unknown != "" {
		return refuse(http.StatusUnprocessableEntity, "%s stands for no secret of this node's configuration: write the secret itself in its place", unknown)
	}
	files := map[string][]byte{config.FileName: data}
	_, err = config.Parse(config.FileName, data, func(ref string) ([]byte, error) {
		if !filepath.IsLocal(ref) {
			return nil, &fs.PathError{Op: "open", Path: ref, Err: errors.New("is no file beside the configuration")}
		}
		b, err := readMax(filepath.Join(s.Places.Config, ref), configMax)
		if err == nil {
			files[ref] = b
		}
		return b, err
	})
	if err != nil {
		// The texts quote what is no secret only; see package config.
		return refuse(http.StatusUnprocessableEntity, "%s", s.redactor().Line(err.Error()))
	}
	if bytes.Equal(data, old) {
		writeJSON(w, http.StatusOK, machine.ConfigChange{})
		return nil
	}
	next := filepath.Join(filepath.Dir(s.Places.Config), NextConfig)
	if err := stageFolder(next, files); err != nil {
		return fmt.Errorf("write the new configuration: %w", err)
	}
	if err := s.Control.Reboot(r.Context(), by.name+", for a new configuration"); err != nil {
		return errors.Join(unavailable(err), os.RemoveAll(next))
	}
	writeJSON(w, http.StatusAccepted, machine.ConfigChange{Changed: true, Reboot: true})
	return nil
}

// settled is nil when nothing is on trial and the machine is not about to end: only then may something be changed that the next boot proves.
func (s *Server) settled(ctx context.Context) error {
	p, err := s.pid1(ctx)
	switch {
	case err != nil:
		return unavailable(err)
	case p.Ending != "":
		return refuse(http.StatusConflict, "the machine is about to %s", p.Ending)
	case p.Trial != nil && p.Trial.Result == "":
		what := "a new configuration"
		if p.Trial.Kind != "config" {
			what = "the system in slot " + p.Trial.Slot
		}
		e := refuse(http.StatusConflict, "%s is on trial, at most %v more: %s", what, p.Trial.Left.Round(1e9), p.Trial.Waiting)
		e.Do = "wait until it is over, or go back: keelson rollback"
		return e
	}
	return nil
}

// stageFolder makes the folder at path hold exactly these files, all or nothing.
func stageFolder(path string, files map[string][]byte) error {
	tmp := path + ".new"
	if err := errors.Join(os.RemoveAll(tmp), os.RemoveAll(path)); err != nil {
		return err
	}
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return err
	}
	for name, b := range files {
		file := filepath.Join(tmp, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := durable.WriteFile(file, b, 0o600); err != nil {
			return err
		}
	}
	if err := durable.SyncDir(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

func readMax(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("is larger than %d bytes", most)}
	}
	return b, err
}
