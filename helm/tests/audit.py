def run(report): pass
def quick(report): pass
def root_filesystem(report): pass
