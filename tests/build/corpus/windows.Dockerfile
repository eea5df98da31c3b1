# escape=`
FROM mcr.microsoft.com/windows/servercore:ltsc2022
SHELL ["powershell", "-Command", "$ErrorActionPreference = 'Stop';"]
ENV PYTHON_VERSION=3.12.2
RUN [Net.ServicePointManager]::SecurityProtocol = [Net.SecurityProtocolType]::Tls12; `
	Write-Host ('Downloading {0} ...' -f $url); `
# a comment in between
	Invoke-WebRequest -Uri $url -OutFile 'python.exe';
COPY testfile.txt c:\
RUN dir c:\
WORKDIR C:\\app
CMD ["python"]
