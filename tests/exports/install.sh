#!/bin/sh
# install.sh FOLDER PYTHON: an environment a trainer; PYTHON is this project's, whose packages they see behind their own.
set -eu
home=$1
python=$2
mkdir -p "$home"
behind=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
make_env() {
    name=$1
    shift
    [ -x "$home/$name/bin/python" ] || "$python" -m venv --without-pip "$home/$name"
    echo "$behind" > "$home/$name/lib/python3.11/site-packages/behind.pth"
    "$python" -m uv pip install -q --python "$home/$name/bin/python" --no-deps "$@"
}
make_env FlagEmbedding FlagEmbedding==1.4.2 peft
make_env beir beir==2.2.0
make_env mteb mteb==2.26.24 polars polars-runtime-32 pytrec-eval-terrier
make_env tevatron tevatron==0.1.0
make_env pylate pylate==1.6.0 sentence-transformers==5.3.0 transformers==5.3.0 "huggingface-hub<2" "tokenizers<0.23" ujson httpcore httpx
make_env ms-swift ms-swift==4.6.0 pillow modelscope modelscope-hub addict peft
make_env nemo-automodel nemo-automodel==0.7.0 pillow
make_env lightning-ir lightning-ir==0.0.6 lightning pytorch-lightning torchmetrics lightning-utilities ir-datasets inscriptis \
    trec-car-tools lz4 warc3-wet warc3-wet-clueweb09 beautifulsoup4 soupsieve ijson unlzw3 pyautocorpus zlib-state docstring-parser jsonargparse
make_env webdataset webdataset==1.0.2 braceexpand
make_env mosaicml-streaming mosaicml-streaming==0.13.0 brotli python-snappy zstd cramjam pillow catalogue
make_env tevatron-main pillow
make_env contrastors webdataset braceexpand s3fs aiobotocore botocore jmespath aioitertools
echo "tevatron-main and contrastors: copy their sources there from a checkout, as README.md says"
