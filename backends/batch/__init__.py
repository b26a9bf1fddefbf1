"""AWS Batch, held together by Step Functions."""
