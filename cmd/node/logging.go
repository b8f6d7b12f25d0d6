package main

import (
	"flag"
	"io"
	"os"
	"strconv"

	"github.com/sirupsen/logrus"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

// setLogging sets what the embedded components log, all to standard error. Below 0 only
// their warnings and errors are: each start writes some 600 lines of information, which
// would go to the state partition, and our own lines tell what the node does.
//
// klog's own threshold would not do: containerd sets it back to information.
func setLogging(verbosity int) error {
	if verbosity < 0 {
		logrus.SetLevel(logrus.WarnLevel) // kine and containerd
		logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(warnings{os.Stderr})))
		var options []klog.LoggerOption
		if w, ok := logger.GetSink().(textlogger.KlogBufferWriter); ok {
			options = append(options, klog.WriteKlogBuffer(w.WriteKlogBuffer))
		}
		klog.SetLoggerWithOptions(logger, options...)
		return nil
	}
	fs := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(fs)
	return fs.Set("v", strconv.Itoa(verbosity))
}

// warnings drops klog's lines of information: "I0102 15:04:05.000000 …". Each line is one Write.
type warnings struct{ to io.Writer }

func (w warnings) Write(line []byte) (int, error) {
	if len(line) > 1 && line[0] == 'I' && line[1] >= '0' && line[1] <= '9' {
		return len(line), nil
	}
	return w.to.Write(line)
}
