ARG OWNER=jupyter
ARG BASE_CONTAINER=$OWNER/base-notebook
FROM $BASE_CONTAINER
LABEL maintainer="Project <jupyter@example.org>"
# Fix: https://example.org/DL4006
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
USER root
ARG NB_UID="1000"
ENV HOME="/home/${NB_USER}" CONDA_DIR=/opt/conda
ENV PATH="${CONDA_DIR}/bin:${PATH}"
COPY --chown="${NB_UID}:${NB_GID}" initial-condarc "${CONDA_DIR}/.condarc"
RUN mamba install --yes \
    'altair' \
    'bokeh' && \
    mamba clean --all -f -y && \
    fix-permissions "/home/${NB_USER}"
WORKDIR "${HOME}"
USER ${NB_UID}
HEALTHCHECK --interval=3s --timeout=1s --start-period=3s --retries=3 CMD /etc/jupyter/docker_healthcheck.py || exit 1
CMD ["start-notebook.py"]
