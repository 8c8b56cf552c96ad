"""Asks an emulator of AWS Lambda with AWS's own client, and checks that the answers mean what they should."""

import base64
import json
import socket
import sys
import threading

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

client = boto3.client(
    "lambda",
    endpoint_url=sys.argv[1],
    region_name="us-east-1",
    aws_access_key_id="a",
    aws_secret_access_key="b",
    config=Config(retries={"total_max_attempts": 1}),
)
NAME = "sagewai-sandbox"
PROBE = json.dumps({"probe": {"version": 1}})


def code(**arguments):
    try:
        client.invoke(FunctionName=NAME, **arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    raise AssertionError(f"{arguments} was not refused")


answer = client.invoke(FunctionName=NAME, Qualifier="live", TenantId="t1", LogType="Tail", Payload=PROBE)
assert answer["StatusCode"] == 200 and "FunctionError" not in answer, answer
assert answer["ExecutedVersion"] == "1", answer
assert json.loads(answer["Payload"].read())["version"] == 1
assert "REPORT RequestId" in base64.b64decode(answer["LogResult"]).decode()

failed = client.invoke(FunctionName=NAME, TenantId="t1", Payload="{}")
assert failed["StatusCode"] == 200 and failed["FunctionError"] == "Unhandled", failed
assert json.loads(failed["Payload"].read())["errorType"] == "Sagewai.Request"

assert client.invoke(FunctionName=NAME, TenantId="t1", InvocationType="DryRun")["StatusCode"] == 204
assert client.invoke(FunctionName=NAME, TenantId="t1", InvocationType="Event", Payload=PROBE)["StatusCode"] == 202

assert code(Payload=PROBE) == "InvalidParameterValueException", "without a tenant"
assert code(TenantId="t1", Payload="{") == "InvalidRequestContentException"
assert code(TenantId="t1", Payload=b'"' + b"x" * (6 << 20) + b'"') == "RequestTooLargeException"
assert code(TenantId="t1", Qualifier="other") == "ResourceNotFoundException"

# One at a time is allowed: a call to a worker that accepts and says nothing keeps its environment busy until that hangs up.
silent = socket.socket()
silent.bind(("127.0.0.1", 0))
silent.listen(1)
call = {"version": 1, "call": "01" * 16, "token": "02" * 32, "key": "09" + "00" * 31}
busy = dict(call, tenant="t2", open_network=False, connect=["127.0.0.1:%d" % silent.getsockname()[1]])


def hold():
    while True:
        try:
            return client.invoke(FunctionName=NAME, TenantId="t2", Payload=json.dumps({"step": busy}))
        except client.exceptions.TooManyRequestsException:
            pass  # The main thread's call was there first.


holder = threading.Thread(target=hold)
holder.start()
connection, _ = silent.accept()
try:
    client.invoke(FunctionName=NAME, TenantId="t3", Payload=PROBE)
    raise AssertionError("nothing was throttled")
except client.exceptions.TooManyRequestsException as error:
    assert error.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded", error.response
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 429
connection.close()
holder.join()
