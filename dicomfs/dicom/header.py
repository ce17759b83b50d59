"""The header of a DICOM file as files: `header.json`, `header.txt` and the names of its bulk values."""

from dicomfs.dicom.header_json import BulkValue, bulk_values, header_json, json_parts
from dicomfs.dicom.header_txt import header_txt, txt_parts

__all__ = ["BulkValue", "bulk_values", "header_json", "header_txt", "json_parts", "txt_parts"]
